//! `/api/v1/openapi.json`: what the API is asked and answers, from the types of its answers.
//!
//! Held to the code by tests: every route below `/api/v1` is described and no other, each with exactly the parameters
//! that its handler knows, and real answers have the members that their schemas have.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::ToSchema;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Response as Answer,
    ResponseBuilder, ResponsesBuilder, Schema,
};

use crate::error::Problem;
use crate::routes::ROUTES;
use crate::{about, actions, api, bins, lag, pipelines, report, reporters, topic};

/// One address.
struct Described {
    path: &'static str,
    summary: &'static str,
    params: &'static [&'static str],
    /// Name of the schema of its answer.
    answer: &'static str,
    csv: bool,
    components: fn(ComponentsBuilder) -> ComponentsBuilder,
}

fn with<T: ToSchema>(components: ComponentsBuilder) -> ComponentsBuilder {
    let mut within = Vec::new();
    T::schemas(&mut within);
    components.schema_from::<T>().schemas_from_iter(within)
}

/// Parameters and what they mean.
const PARAMS: &[(&str, &str)] = &[
    ("topic", "Only this topic; for lag a name, or a regular expression that begins with ^. Default: all."),
    (
        "from",
        "Beginning of event time, inclusive: now-15m (default), now/d, ms since 1970, or RFC 3339; at most 400 days before 'to'.",
    ),
    ("to", "End of event time, exclusive. Default: now."),
    ("tz", "Zone in which now/d and the like round: UTC (default) or +02:00."),
    ("format", "json or csv; without it the Accept header decides."),
    (
        "limit",
        "Rows of a page, 1 to 10000 (default 1000). With it, or with 'after', the answer is a page and has 'next' if there may be more.",
    ),
    ("after", "What the last page gave as 'next'."),
    ("cluster", "A name, or a regular expression that begins with ^. Default: all."),
    ("group", "A name, or a regular expression that begins with ^. Default: all."),
    ("by", "topic (default) or partition: what a row is."),
    (
        "width",
        "auto (default: the narrowest that is kept for the range and gives at most 400 slices), 10s, 1m, 10m or 1h.",
    ),
    (
        "of",
        "verdicts (default) or totals: then rows have topic, stage, window_ms, width_ms, n, acked, failed, bytes, f_in.",
    ),
    ("q", "Part of a name: a topic's or owner's; of reporters a host's, application's or stage's."),
    ("only", "trouble: topics that need a look."),
    (
        "with",
        "details: rows also tell the 99th percentile of delay and how many reporters are heard, which costs more.",
    ),
    ("kind", "records, audit_lost, unaudited or oddities: which list a CSV is of; JSON has all."),
    ("day", "2026-11-21, today or yesterday (default)."),
];

/// Parameters that have no default.
const REQUIRED: &[(&str, &str)] = &[("/api/v1/flow", "topic")];

const DESCRIBED: &[Described] = &[
    Described {
        path: "/api/v1/windows",
        summary: "Verdicts: one hop in one window a row. Without 'limit' newest first, at most 10000, 'truncated' beyond.",
        params: &["topic", "from", "to", "tz", "format", "limit", "after"],
        answer: "Windows",
        csv: true,
        components: with::<api::Windows>,
    },
    Described {
        path: "/api/v1/flow",
        summary: "The rows of a topic's page, newest first: a window or a slice of several each, with what every stage counted and every hop's verdict.",
        params: &["topic", "from", "to", "tz", "format"],
        answer: "Flow",
        csv: true,
        components: with::<topic::rows::Flow>,
    },
    Described {
        path: "/api/v1/bins",
        summary: "Verdicts or totals in slices of one width, newest first, at most 10000.",
        params: &["topic", "from", "to", "tz", "width", "of", "format"],
        answer: "Slices",
        csv: true,
        components: with::<bins::Slices>,
    },
    Described {
        path: "/api/v1/topics",
        summary: "Topics with their worst verdict in the range, by name.",
        params: &["topic", "from", "to", "tz", "q", "only", "with", "format"],
        answer: "Topics",
        csv: true,
        components: with::<api::Topics>,
    },
    Described {
        path: "/api/v1/lag",
        summary: "How far consumer groups are behind, as of the last look at each cluster.",
        params: &["cluster", "group", "topic", "by", "format", "tz"],
        answer: "Lag",
        csv: true,
        components: with::<lag::rows::Lag>,
    },
    Described {
        path: "/api/v1/reporters",
        summary: "Who reports, and since when not.",
        params: &["q", "format"],
        answer: "Reporters",
        csv: true,
        components: with::<reporters::rows::Reporters>,
    },
    Described {
        path: "/api/v1/quarantine",
        summary: "What is not believed or was not counted, each list newest first.",
        params: &["kind", "format"],
        answer: "Unbelieved",
        csv: true,
        components: with::<chaperone_collector::account::Unbelieved>,
    },
    Described {
        path: "/api/v1/pipelines",
        summary: "Pipelines as configured or discovered, who reports of them, and through when each hop is complete.",
        params: &["format"],
        answer: "PipelineRows",
        csv: true,
        components: with::<pipelines::rows::PipelineRows>,
    },
    Described {
        path: "/api/v1/report",
        summary: "A day, summed up: canonical JSON, whose SHA-256 the printed report has.",
        params: &["day", "tz", "format"],
        answer: "Report",
        csv: true,
        components: with::<report::summary::Report>,
    },
    Described {
        path: "/api/v1/about",
        summary: "Versions, the books of the audit topics, promises and what was measured.",
        params: &["format"],
        answer: "About",
        csv: true,
        components: with::<about::Answer<'_>>,
    },
    Described {
        path: "/api/v1/status",
        summary: "The store's health.",
        params: &[],
        answer: "Status",
        csv: false,
        components: with::<chaperone_collector::query::Status>,
    },
    Described {
        path: "/api/v1/actions",
        summary: "What people did, newest first.",
        params: &["limit", "after"],
        answer: "Actions",
        csv: false,
        components: with::<actions::Actions>,
    },
    Described {
        path: "/api/v1/reload",
        summary: "Asks the process to read its configuration again, as SIGHUP does; what came of it is in the log of actions.",
        params: &[],
        answer: "Asked",
        csv: false,
        components: with::<actions::Asked>,
    },
    Described {
        path: "/api/v1/openapi.json",
        summary: "This description.",
        params: &[],
        answer: "",
        csv: false,
        components: |components| components,
    },
];

/// `GET /api/v1/openapi.json`.
pub(crate) async fn serve() -> Response {
    static TEXT: LazyLock<Result<String, serde_json::Error>> = LazyLock::new(|| document().to_json());
    match &*TEXT {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text.as_str()).into_response(),
        Err(error) => {
            tracing::error!("the description of the API cannot be written: {error}");
            axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn document() -> OpenApi {
    let mut components = ComponentsBuilder::new().schema_from::<Problem>();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    components = components.security_scheme("token", SecurityScheme::Http(bearer));
    let mut paths = PathsBuilder::new();
    for one in DESCRIBED {
        components = (one.components)(components);
        for route in ROUTES.iter().filter(|r| r.path == one.path) {
            let method = if route.method == "POST" { HttpMethod::Post } else { HttpMethod::Get };
            let role = route.role.map_or("anybody", |role| role.as_str());
            paths = paths.path(one.path, PathItem::new(method, operation(one, role)));
        }
    }
    let info = InfoBuilder::new().title("Chaperone").version(env!("CARGO_PKG_VERSION")).description(Some(
        "Whether every message made it through every stage. Times are ms since 1970. Errors are RFC 9457 problems.",
    ));
    OpenApiBuilder::new().info(info.build()).paths(paths.build()).components(Some(components.build())).build()
}

fn operation(one: &Described, role: &str) -> Operation {
    let of = |name: &str| ContentBuilder::new().schema(Some(RefOr::<Schema>::Ref(Ref::from_schema_name(name)))).build();
    let good = if one.path.ends_with("reload") { "202" } else { "200" };
    let mut answer = ResponseBuilder::new().description("The answer.");
    answer = if one.answer.is_empty() {
        answer.content("application/json", ContentBuilder::new().build())
    } else {
        answer.content("application/json", of(one.answer))
    };
    if one.csv {
        answer = answer.content("text/csv", ContentBuilder::new().build());
    }
    let problem = |words: &str| -> Answer {
        ResponseBuilder::new().description(words).content("application/problem+json", of("Problem")).build()
    };
    let responses = ResponsesBuilder::new()
        .response(good, answer.build())
        .response("400", problem("A parameter cannot be understood; 'field', 'value' and 'allowed' say which."))
        .response("401", problem("A log-in is needed."))
        .response("403", problem("The role is not enough, or another site's page asked."))
        .response("429", problem("Too often; Retry-After says when."))
        .response("503", problem("Too much at once, or the store does not answer; Retry-After says when."));
    let params = one.params.iter().filter_map(|name| PARAMS.iter().find(|(known, _)| known == name));
    let params = params.map(|(name, words)| {
        let text = RefOr::T(Schema::from(
            utoipa::openapi::schema::ObjectBuilder::new().schema_type(utoipa::openapi::schema::Type::String).build(),
        ));
        ParameterBuilder::new()
            .name(*name)
            .parameter_in(ParameterIn::Query)
            .required(if REQUIRED.contains(&(one.path, *name)) { Required::True } else { Required::False })
            .description(Some(*words))
            .schema(Some(text))
            .build()
    });
    OperationBuilder::new()
        .summary(Some(one.summary))
        .description(Some(format!("Least role: {role}.")))
        .parameters(Some(params))
        .security(SecurityRequirement::new("token", Vec::<String>::new()))
        .responses(responses.build())
        .build()
}

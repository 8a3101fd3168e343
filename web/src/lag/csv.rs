//! Rows of lag as CSV: the columns of the JSON, raw numbers; what is not known is empty.

use chaperone_collector::lag::GroupLag;

use crate::csv::{known, text};

const HEADER: &str = "cluster,group,topic,partition,at_ms,state,committed,end,log_start,messages,lag_ms,error_ms,at_least,\
                      trend,lag_trend,produced_per_s,consumed_per_s,catch_up_ms,retention_left_ms,eaten,held\r\n";

pub(crate) fn lag(rows: &[GroupLag]) -> String {
    let mut out = String::with_capacity(HEADER.len() + rows.len() * 160);
    out.push_str(HEADER);
    for row in rows {
        let fields = [
            text(&row.cluster),
            text(&row.group),
            text(&row.topic),
            known(row.partition),
            row.at_ms.to_string(),
            row.state.to_string(),
            known(row.committed),
            known(row.end),
            known(row.log_start),
            known(row.messages),
            known(row.lag_ms),
            known(row.error_ms),
            row.at_least.to_string(),
            row.trend.to_string(),
            row.lag_trend.to_string(),
            known(row.produced_per_s),
            known(row.consumed_per_s),
            known(row.catch_up_ms),
            known(row.retention_left_ms),
            row.eaten.to_string(),
            row.held.to_string(),
        ];
        out.push_str(&fields.join(","));
        out.push_str("\r\n");
    }
    out
}

// The harness's hand on a cluster: one JVM for all clusters of a test process, because a JVM for each
// ACL command costs seconds. Reads one JSON object a line, answers {"ok": …} or {"error": "…"}.
// tests/src/kafka/admin.rs is the other end.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

final class Admin {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Map<String, AdminClient> CLIENTS = new HashMap<>();
    private static final long DEADLINE_MS = 30_000;

    public static void main(String[] args) throws Exception {
        // Standard output carries answers only, whatever a library prints.
        PrintStream answers = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        System.setOut(System.err);
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            Map<String, Object> answer = new HashMap<>();
            try {
                answer.put("ok", handle(JSON.readTree(line)));
            } catch (ExecutionException e) {
                answer.put("error", String.valueOf(e.getCause()));
            } catch (Exception e) {
                answer.put("error", String.valueOf(e));
            }
            answers.println(JSON.writeValueAsString(answer));
        }
    }

    private static Object handle(JsonNode request) throws Exception {
        int timeout = request.path("timeout_ms").asInt((int) DEADLINE_MS);
        AdminClient client = client(request.get("bootstrap").asText(), timeout);
        return switch (request.get("op").asText()) {
            case "create_topic" -> createTopic(client, request);
            case "delete_topic" -> deleteTopic(client, request.get("topic").asText());
            case "add_partitions" -> addPartitions(client, request);
            case "alter_topic" -> alterTopic(client, request);
            case "delete_records" -> deleteRecords(client, request);
            case "offsets" -> offsets(client, request.get("topic").asText());
            case "in_sync" -> client.describeTopics(List.of(request.get("topic").asText())).allTopicNames().get()
                .get(request.get("topic").asText()).partitions().stream().map(p -> p.isr().size()).toList();
            case "leaders" -> client.describeTopics(List.of(request.get("topic").asText())).allTopicNames().get()
                .get(request.get("topic").asText()).partitions().stream().map(p -> p.leader().id()).toList();
            case "coordinator" -> client.describeConsumerGroups(List.of(request.get("group").asText())).all().get()
                .get(request.get("group").asText()).coordinator().id();
            case "add_acls" -> addAcls(client, bindings(request));
            case "remove_acls" -> removeAcls(client, bindings(request));
            case "list_acls" -> listAcls(client);
            case "broker_config" -> brokerConfig(client, request.get("broker").asText());
            case "features" -> features(client);
            default -> throw new IllegalArgumentException("unknown op in " + request);
        };
    }

    /** One client for each cluster and timeout; they live as long as this process. */
    private static AdminClient client(String bootstrap, int timeoutMs) {
        return CLIENTS.computeIfAbsent(bootstrap + " " + timeoutMs, key -> AdminClient.create(Map.of(
            "bootstrap.servers", bootstrap,
            "request.timeout.ms", Math.min(timeoutMs, 10_000),
            "default.api.timeout.ms", timeoutMs,
            "reconnect.backoff.max.ms", 200)));
    }

    private static Object createTopic(AdminClient client, JsonNode request) throws Exception {
        String name = request.get("topic").asText();
        int partitions = request.get("partitions").asInt();
        Map<String, String> configs = new HashMap<>();
        request.path("configs").properties().forEach(e -> configs.put(e.getKey(), e.getValue().asText()));
        var topic = new NewTopic(name, Optional.of(partitions), replication(request)).configs(configs);
        client.createTopics(List.of(topic)).all().get();
        await("topic " + name + " to have leaders", () -> hasLeaders(client, name, partitions));
        return name;
    }

    private static Optional<Short> replication(JsonNode request) {
        return request.hasNonNull("replication")
            ? Optional.of((short) request.get("replication").asInt())
            : Optional.empty();
    }

    private static boolean hasLeaders(AdminClient client, String name, int partitions) throws Exception {
        TopicDescription description;
        try {
            description = client.describeTopics(List.of(name)).allTopicNames().get().get(name);
        } catch (ExecutionException e) {
            if (e.getCause() instanceof UnknownTopicOrPartitionException) {
                return false;
            }
            throw e;
        }
        return description.partitions().size() == partitions
            && description.partitions().stream().allMatch(p -> p.leader() != null && !p.leader().isEmpty());
    }

    private static Object deleteTopic(AdminClient client, String name) throws Exception {
        client.deleteTopics(List.of(name)).all().get();
        await("topic " + name + " to be gone", () -> !client.listTopics().names().get().contains(name));
        return name;
    }

    private static Object addPartitions(AdminClient client, JsonNode request) throws Exception {
        String name = request.get("topic").asText();
        int total = request.get("total").asInt();
        client.createPartitions(Map.of(name, NewPartitions.increaseTo(total))).all().get();
        await("topic " + name + " to have " + total + " partitions", () -> hasLeaders(client, name, total));
        return name;
    }

    private static Object alterTopic(AdminClient client, JsonNode request) throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, request.get("topic").asText());
        List<AlterConfigOp> ops = new ArrayList<>();
        request.get("configs").properties().forEach(e -> ops.add(new AlterConfigOp(
            new ConfigEntry(e.getKey(), e.getValue().asText()), AlterConfigOp.OpType.SET)));
        client.incrementalAlterConfigs(Map.of(resource, ops)).all().get();
        return resource.name();
    }

    private static Object deleteRecords(AdminClient client, JsonNode request) throws Exception {
        var partition = new TopicPartition(request.get("topic").asText(), request.get("partition").asInt());
        var before = RecordsToDelete.beforeOffset(request.get("before").asLong());
        return client.deleteRecords(Map.of(partition, before)).lowWatermarks().get(partition).get().lowWatermark();
    }

    /** [[first, next], …] by partition, as of this moment. */
    private static Object offsets(AdminClient client, String name) throws Exception {
        int partitions = client.describeTopics(List.of(name)).allTopicNames().get().get(name).partitions().size();
        Map<TopicPartition, OffsetSpec> first = new HashMap<>();
        Map<TopicPartition, OffsetSpec> next = new HashMap<>();
        for (int p = 0; p < partitions; p++) {
            first.put(new TopicPartition(name, p), OffsetSpec.earliest());
            next.put(new TopicPartition(name, p), OffsetSpec.latest());
        }
        var firsts = client.listOffsets(first).all().get();
        var nexts = client.listOffsets(next).all().get();
        List<long[]> answer = new ArrayList<>();
        for (int p = 0; p < partitions; p++) {
            var partition = new TopicPartition(name, p);
            answer.add(new long[] {firsts.get(partition).offset(), nexts.get(partition).offset()});
        }
        return answer;
    }

    private static List<AclBinding> bindings(JsonNode request) {
        List<AclBinding> bindings = new ArrayList<>();
        for (JsonNode acl : request.get("acls")) {
            var pattern = new ResourcePattern(
                ResourceType.fromString(acl.get("resource").asText()),
                acl.get("name").asText(),
                PatternType.fromString(acl.get("pattern").asText().toUpperCase()));
            var entry = new AccessControlEntry(
                "User:" + acl.get("user").asText(),
                "*",
                AclOperation.fromString(acl.get("operation").asText()),
                AclPermissionType.fromString(acl.get("permission").asText()));
            bindings.add(new AclBinding(pattern, entry));
        }
        return bindings;
    }

    /** Returns once the broker itself goes by the new rules: DescribeAcls answers from the broker's authorizer. */
    private static Object addAcls(AdminClient client, List<AclBinding> bindings) throws Exception {
        client.createAcls(bindings).all().get();
        await("ACLs to be in force", () -> inForce(client).containsAll(bindings));
        return bindings.size();
    }

    private static Object removeAcls(AdminClient client, List<AclBinding> bindings) throws Exception {
        var filters = bindings.stream().map(AclBinding::toFilter).toList();
        int removed = client.deleteAcls(filters).all().get().size();
        await("ACLs to be gone", () -> bindings.stream().noneMatch(inForce(client)::contains));
        return removed;
    }

    private static Set<AclBinding> inForce(AdminClient client) throws Exception {
        return new HashSet<>(client.describeAcls(AclBindingFilter.ANY).values().get());
    }

    private static Object listAcls(AdminClient client) throws Exception {
        List<Map<String, String>> answer = new ArrayList<>();
        for (AclBinding binding : inForce(client)) {
            answer.add(Map.of(
                "user", binding.entry().principal().replaceFirst("^User:", ""),
                "resource", binding.pattern().resourceType().name().toLowerCase(),
                "name", binding.pattern().name(),
                "pattern", binding.pattern().patternType().name().toLowerCase(),
                "operation", binding.entry().operation().name().toLowerCase(),
                "permission", binding.entry().permissionType().name().toLowerCase()));
        }
        return answer;
    }

    private static Object brokerConfig(AdminClient client, String broker) throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.BROKER, broker);
        Map<String, String> answer = new TreeMap<>();
        for (ConfigEntry entry : client.describeConfigs(List.of(resource)).all().get().get(resource).entries()) {
            if (!entry.isSensitive()) {
                answer.put(entry.name(), entry.value());
            }
        }
        return answer;
    }

    /** The finalized feature levels, from the broker's answer to ApiVersions. */
    private static Object features(AdminClient client) throws Exception {
        Map<String, Integer> answer = new TreeMap<>();
        client.describeFeatures().featureMetadata().get().finalizedFeatures()
            .forEach((name, range) -> answer.put(name, (int) range.maxVersionLevel()));
        return answer;
    }

    private static void await(String what, Callable<Boolean> condition) throws Exception {
        long end = System.nanoTime() + Duration.ofMillis(DEADLINE_MS).toNanos();
        while (!condition.call()) {
            if (System.nanoTime() > end) {
                throw new KafkaException("waited in vain for " + what);
            }
            Thread.sleep(5);
        }
    }
}

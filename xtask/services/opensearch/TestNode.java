// Starts one OpenSearch node in this JVM from plain jars; run by `java TestNode.java FOLDER HTTP_PORT TRANSPORT_PORT`.
// It knows which modules a node needs for bulk requests, data streams and ingest, and nothing of the tests.

import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.Node;
import org.opensearch.plugins.Plugin;

public class TestNode extends Node {
    private TestNode(Environment environment, List<Class<? extends Plugin>> modules) {
        super(environment, modules, true);
    }

    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        Settings settings = Settings.builder()
            .put("path.home", folder.toString())
            .put("path.data", folder.resolve("data").toString())
            .put("path.logs", folder.resolve("logs").toString())
            .put("cluster.name", "sawlog-test")
            .put("node.name", "one")
            .put("network.host", "127.0.0.1")
            .put("http.port", arguments[1])
            .put("transport.port", arguments[2])
            .put("http.max_content_length", "8mb")
            .put("http.type", "netty4")
            .put("transport.type", "netty4")
            .put("discovery.type", "single-node")
            .put("node.processors", 2)
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
        Node node = new TestNode(
            new Environment(settings, folder.resolve("config")),
            List.of(
                module("org.opensearch.transport.Netty4Plugin"),
                module("org.opensearch.painless.PainlessPlugin"),
                module("org.opensearch.ingest.common.IngestCommonPlugin"),
                module("org.opensearch.analysis.common.CommonAnalysisPlugin"),
                module("org.opensearch.index.mapper.MapperExtrasPlugin"),
                module("org.opensearch.index.reindex.ReindexPlugin")));
        node.start();
        new CountDownLatch(1).await();
    }

    private static Class<? extends Plugin> module(String name) throws ClassNotFoundException {
        return Class.forName(name).asSubclass(Plugin.class);
    }
}

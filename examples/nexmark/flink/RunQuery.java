import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableDescriptor;
import org.apache.flink.table.api.TableEnvironment;

/**
 * Runs one query in a Flink that is within this JVM: RunQuery TABLES.sql QUERY.sql EVENTS OUT PARALLELISM.
 *
 * <p>TABLES.sql has statements that end with a semicolon; EVENTS takes the place of {@code ${events}} in them. OUT is the folder for the rows.
 */
class RunQuery {
    public static void main(String[] arguments) throws Exception {
        var configuration = new Configuration();
        configuration.setString("execution.runtime-mode", "streaming");
        configuration.setString("parallelism.default", arguments[4]);
        configuration.setString("pipeline.object-reuse", "true");
        configuration.setString("table.local-time-zone", "UTC");
        var tables = TableEnvironment.create(EnvironmentSettings.newInstance().withConfiguration(configuration).build());

        var statements = Files.readString(Path.of(arguments[0])).replace("${events}", arguments[2]);
        for (var statement : statements.split(";\\s*")) {
            tables.executeSql(statement);
        }
        var sink = TableDescriptor.forConnector("filesystem").option("path", arguments[3]).format("json").build();
        tables.sqlQuery(Files.readString(Path.of(arguments[1]))).executeInsert(sink).await();
    }
}

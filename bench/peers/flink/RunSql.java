import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Objects;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;

/**
 * Runs the statements of a file one after another, as Flink's SQL client does with -f, in a cluster within this process, and
 * ends when the last of them has ended. ${NAME} is the environment's. The SQL client itself is in Flink's distribution, which
 * is not on Maven Central.
 */
public final class RunSql {
    private static final Pattern COMMENT = Pattern.compile("(?m)^--.*$");
    private static final Pattern VARIABLE = Pattern.compile("\\$\\{(\\w+)}");
    private static final Pattern SETTING = Pattern.compile("SET '(.+)' = '(.+)'");

    public static void main(String[] args) throws Exception {
        TableEnvironment flink = TableEnvironment.create(EnvironmentSettings.inStreamingMode());
        String script = COMMENT.matcher(Files.readString(Path.of(args[0]))).replaceAll("");
        script = VARIABLE.matcher(script).replaceAll(variable -> Matcher.quoteReplacement(environment(variable.group(1))));
        for (String statement : script.split(";\\s*(\n|$)")) {
            Matcher setting = SETTING.matcher(statement.strip());
            if (setting.matches()) {
                flink.getConfig().set(setting.group(1), setting.group(2));
            } else {
                flink.executeSql(statement).await();
            }
        }
    }

    private static String environment(String name) {
        return Objects.requireNonNull(System.getenv(name), () -> name + " is not set");
    }
}

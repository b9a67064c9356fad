//! The commands that end by themselves: effects, output and exit codes.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use retail_testbed::{Case, Kafka, Pooler, Postgres, Program, Silence, SilentProxy};

use crate::RETAIL;

fn run(case: &Case, arguments: &[&str]) -> Output {
    case.command(RETAIL).args(arguments).output().unwrap()
}

/// Exit code, standard output, standard error.
fn ended(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn topic_and_schema_are_created_once_and_grown() {
    let case = Case::shared().partitions(2).timestamp_type(None).build();
    let name = &case.topic.name;
    let said = |command: &str| {
        let (code, said, error) = ended(&run(&case, &[command]));
        assert_eq!((code, error.as_str()), (0, ""));
        said
    };
    assert_eq!(said("apply-topic"), format!("created topic \"{name}\" with 2 partitions\n"));
    assert_eq!(said("apply-topic"), format!("topic \"{name}\" exists with 2 partitions\n"));
    let yaml = std::fs::read_to_string(&case.file).unwrap();
    std::fs::write(&case.file, yaml.replace("partitions: 2", "partitions: 3").replace("\"-1\"", "\"1000\"")).unwrap();
    assert_eq!(
        said("apply-topic"),
        format!(
            "grew topic \"{name}\" from 2 to 3 partitions\nnot changed: retention.ms is -1, not 1000 as declared: the change would delete records\n"
        )
    );
    let address = case.settings.database.address();
    let schema = format!("schema \"{}\" is up to date in postgres at {address}\n", case.settings.pipeline.schema);
    assert_eq!(said("apply-schema"), schema);
    assert_eq!(said("apply-schema"), schema);
    assert_eq!(case.text("SELECT count(*) FROM ledger").await, "0");
}

#[tokio::test]
async fn topic_with_create_time_is_created_with_a_warning() {
    let case = Case::shared().build();
    let (code, said, _) = ended(&run(&case, &["apply-topic"]));
    assert_eq!(code, 0);
    let warning = "\nwarning: producers set the timestamps of its records (message.timestamp.type=CreateTime), so one clock can close \
                   windows up to 1h early\n";
    assert!(said.ends_with(warning), "{said}");
}

/// The commands of docs/how-to/use-a-pooler.md, with a database whose only way in is the pooler.
#[tokio::test]
async fn commands_through_a_pooler_succeed() {
    let postgres = Postgres::private();
    let pooler = Pooler::to(&postgres, 1);
    let case = Case::on(&Kafka::shared().address(), &pooler.url()).partitions(1).build();
    case.apply_topic().await;
    case.topic.purchases(0, &[("A", "1", 0), ("A", "2", 1)]);
    for (program, arguments) in [
        ("retail", &["apply-schema"][..]),
        ("retail-processor", &["--until-caught-up", "--workers", "1"]),
        ("retail", &["apply-schema"]),
        ("retail", &["verify"]),
    ] {
        let (code, said, error) = ended(&case.command(RETAIL).arg0(program).args(arguments).output().unwrap());
        assert_eq!(code, 0, "{program} {arguments:?}: {said}{error}");
    }
    let direct = case.with_database(&postgres.url());
    assert_eq!(direct.retail().await, ["0 300 A 2 3 3 open"]);
}

#[tokio::test]
async fn verify_with_difference_exits_1() {
    let case = Case::shared().partitions(1).start().await;
    let verify = |json: &[&str]| ended(&run(&case, &[&["verify"], json].concat()));
    assert_eq!(verify(&[]).0, 0, "nothing processed is nothing wrong");
    case.client()
        .await
        .batch_execute("INSERT INTO partition_progress (partition, start_offset, next_offset, lateness_floor, max_future) VALUES (0, 0, 0, 'epoch', '1h')")
        .await
        .unwrap();
    case.topic.purchases(0, &[("A", "1", 0)]);
    assert_eq!(verify(&[]).0, 0, "what is not processed yet is not wrong");
    case.client().await.batch_execute("UPDATE partition_progress SET late = 1").await.unwrap();
    let (code, said, _) = verify(&[]);
    assert_eq!(code, 1);
    assert!(said.starts_with("DIFFERENT: ledger, partition 0: late is 1, expected 0\n"), "{said}");
    let (code, json, _) = verify(&["--json"]);
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (code, &report["equal"], &report["difference"]),
        (1, &false.into(), &"ledger, partition 0: late is 1, expected 0".into())
    );
}

/// Far more than a command takes with a silent server: 10 s to connect, or the same again for a statement.
const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test]
async fn commands_end_with_1_when_postgres_is_silent() {
    let address = Postgres::shared().address();
    let ends = async |command: &str, silence: Silence| {
        let case = Case::shared().partitions(1).start().await;
        let proxy = SilentProxy::start(&address, silence).await;
        if silence == Silence::Never {
            proxy.silence();
        }
        let through = case.with_database(&proxy.url(&Postgres::shared().url()));
        let mut program = Program::start(RETAIL, &through, &[command]);
        assert_eq!(program.exit_code(LIMIT).await, 1, "{command}, {silence:?}");
        let output = program.output();
        assert!(output.contains("did not answer in time"), "{command}, {silence:?}: {output}");
    };
    // In the start-up, and in a statement.
    let silences = [Silence::Never, Silence::AfterServer(1000), Silence::AfterClient(1500)];
    let [never, server, client] = silences;
    tokio::join!(ends("verify", never), ends("verify", server), ends("verify", client), ends("apply-schema", never),);
}

#[test]
fn validate_reports_all_problems_and_exits_2() {
    let case = Case::shared().build();
    let (code, said, _) = ended(&run(&case, &["validate"]));
    assert_eq!((code, said.ends_with(" is valid\n")), (0, true));
    let yaml = std::fs::read_to_string(&case.file).unwrap();
    std::fs::write(&case.file, yaml.replace("trigger: 100ms", "trigger: 2h\n  windw: 5m")).unwrap();
    let file = case.file.display();
    let (code, said, error) = ended(&run(&case, &["validate"]));
    // Each problem is followed by its line and a mark below it.
    let problems: Vec<&str> = error.lines().step_by(3).collect();
    assert_eq!((code, said.as_str(), problems.len()), (2, "", 2), "{error}");
    assert!(problems.iter().all(|problem| problem.starts_with(&format!("{file}:"))), "{error}");
    assert!(
        error.contains("\n      trigger: 2h\n               ^") && error.contains("\n      windw: 5m\n      ^"),
        "{error}"
    );
    assert!(error.contains("trigger must be 100ms to 1h") && error.contains("did you mean window?"), "{error}");
    for command in ["run", "apply-topic", "apply-schema", "verify"] {
        assert_eq!(ended(&run(&case, &[command])), (2, String::new(), error.clone()), "{command}");
    }
}

#[test]
fn shells_complete_every_subcommand_and_man_pages_describe_it() {
    let help = String::from_utf8(Command::new(RETAIL).arg("--help").output().unwrap().stdout).unwrap();
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    // The name of a subcommand is indented by two blanks.
    let names: Vec<&str> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(names.len() > 8 && names.contains(&"verify"), "{names:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = Command::new(RETAIL).args(["completions", shell]).output().unwrap();
        let script = String::from_utf8(script.stdout).unwrap();
        assert!(names.iter().all(|name| script.contains(name)), "{shell}");
    }
    let complete = "source <(\"$0\" completions bash); COMP_WORDS=(retail ver) COMP_CWORD=1; _retail retail ver retail; echo \"${COMPREPLY[*]}\"";
    let completed = Command::new("bash").args(["-c", complete, RETAIL]).output().unwrap();
    assert_eq!(String::from_utf8(completed.stdout).unwrap(), "verify\n");
    let directory = retail_testbed::directory().join("man");
    std::fs::create_dir_all(&directory).unwrap();
    assert!(Command::new(RETAIL).arg("man").arg(&directory).status().unwrap().success());
    for name in names.iter().filter(|name| **name != "help") {
        let page = std::fs::read_to_string(directory.join(format!("retail-{name}.1"))).unwrap();
        assert!(page.contains(&format!("retail\\-{}", name.replace('-', "\\-"))), "{name}: {page}");
    }
    let missing = Command::new(RETAIL).args(["man", "/nonexistent"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
fn crd_prints_the_file_of_the_repository() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/retailpipelines.retailpipeline.dev.yaml");
    let printed = Command::new(RETAIL).arg("crd").output().unwrap().stdout;
    assert_eq!(String::from_utf8(printed).unwrap(), std::fs::read_to_string(file).unwrap());
}

#[test]
fn invalid_usage_exits_2() {
    let ends = |arguments: &[&str]| Command::new(RETAIL).args(arguments).output().unwrap().status.code();
    assert_eq!((ends(&[]), ends(&["fly"]), ends(&["run", "--workers", "0"])), (Some(2), Some(2), Some(2)));
    assert_eq!((ends(&["--version"]), ends(&["--help"]), ends(&["run", "--help"])), (Some(0), Some(0), Some(0)));
}

#[test]
fn retail_under_other_name_runs_that_program() {
    let directory = std::env::temp_dir().join(format!("retail-names-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    for (name, flag) in [
        ("retail", "apply-schema"),
        ("retail-producer", "--rate"),
        ("retail-processor", "--until-caught-up"),
        ("retail-operator", "rbac"),
    ] {
        let link = directory.join(name);
        std::os::unix::fs::symlink(RETAIL, &link).unwrap();
        let says = |argument: &str| ended(&Command::new(&link).arg(argument).output().unwrap());
        assert_eq!(says("--version"), (0, format!("{name} {}\n", env!("CARGO_PKG_VERSION")), String::new()));
        let (code, help, _) = says("--help");
        assert!(code == 0 && help.contains(flag) && help.contains(&format!("Usage: {name} ")), "{name}: {help}");
    }
    std::fs::remove_dir_all(directory).unwrap();
}

/// The command fails with one sentence that contains all of `words`.
fn fails(case: &Case, command: &str, words: &[&str]) {
    let (code, said, error) = ended(&run(case, &[command]));
    assert_eq!((code, said.as_str(), error.trim_end().lines().count()), (1, "", 1), "{command}: {error}");
    for word in words {
        assert!(error.contains(word), "{command}: {word:?} is not in {error}");
    }
}

#[tokio::test]
async fn unreachable_servers_are_explained() {
    let url = "postgres://retail:retail@127.0.0.1:1/retail";
    let case = Case::on("127.0.0.1:1", url).build();
    fails(&case, "apply-topic", &["cannot reach Kafka at 127.0.0.1:1", "bootstrap servers", "refused"]);
    fails(&case, "apply-schema", &["cannot reach postgres at 127.0.0.1:1", "check that it is running", "refused"]);
    fails(&case, "verify", &["cannot reach postgres at 127.0.0.1:1"]);
    fails(&case, "run", &["cannot reach Kafka at 127.0.0.1:1"]);
}

#[tokio::test]
async fn rejected_logins_and_permissions_are_explained() {
    let case = Case::shared().build();
    let url = retail_testbed::Postgres::shared().url();
    let wrong = case.with_database(&url.replace(":retail@", ":wrong@"));
    fails(&wrong, "apply-schema", &["refused user \"retail\"", "RETAIL_DATABASE_URL"]);
    let missing = case.with_database(&format!("{url}-missing"));
    fails(&missing, "apply-schema", &["does not exist", "CREATE DATABASE \"retail-missing\""]);
    let superuser = case.client_at(&retail_testbed::Postgres::shared().superuser_url()).await;
    let reader = case.topic.name.replace('-', "_");
    superuser.batch_execute(&format!("CREATE ROLE {reader} LOGIN PASSWORD 'reader'")).await.unwrap();
    let reading = case.with_database(&url.replace("retail:retail@", &format!("{reader}:reader@")));
    fails(&reading, "apply-schema", &[&format!("user \"{reader}\" lacks a permission"), "GRANT CREATE ON DATABASE"]);
}

#[tokio::test]
async fn missing_topic_or_schema_names_the_command() {
    let case = Case::shared().build();
    fails(&case, "verify", &["schema", "is not set up", "retail apply-schema"]);
    case.apply_schema().await;
    fails(&case, "verify", &["topic", "does not exist", "retail apply-topic"]);
}

#[tokio::test]
async fn schema_of_other_pipeline_is_refused_unchanged() {
    let case = Case::shared().start().await;
    let before = case.text("SELECT uid FROM pipeline").await;
    let yaml = std::fs::read_to_string(&case.file).unwrap();
    std::fs::write(&case.file, yaml.replace("metadata: {", "metadata: {namespace: other, ")).unwrap();
    fails(
        &case,
        "apply-schema",
        &["belongs to pipeline local:default/", "but this is local:other/", "choose another database.schema"],
    );
    let (code, _, error) = ended(&run(&case, &["run"]));
    assert!(code == 1 && error.contains("belongs to pipeline local:default/"), "{error}");
    assert_eq!(case.text("SELECT uid FROM pipeline").await, before);
}

#[test]
fn plan_shows_actions_and_refuses_immutable_changes() {
    let directory = std::env::temp_dir().join(format!("retail-plan-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = |name: &str, spec: &str| {
        let path = directory.join(name);
        let text = format!(
            "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {{name: retail}}\nspec:\n  \
             kafka: {{bootstrapServers: \"kafka:9092\"}}\n  database: {{host: db, name: db}}\n  {spec}\n"
        );
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let old = file("old.yaml", "topic: {name: t, partitions: 2}\n  producer: {}");
    let new = file("new.yaml", "topic: {name: t, partitions: 3}\n  producer: {eventsPerSecond: 7}");
    let immutable = file("immutable.yaml", "topic: {name: other}");
    let plan = |arguments: &[&str]| ended(&Command::new(RETAIL).arg("plan").args(arguments).output().unwrap());
    let (code, said, _) = plan(&["-f", &old]);
    assert_eq!((code, said.lines().next()), (0, Some("+ topic t")));
    assert_eq!(plan(&["-f", &old, "--from", &old]), (0, "nothing to do\n".to_owned(), String::new()));
    let (code, said, _) = plan(&["-f", &new, "--from", &old]);
    assert!(code == 0 && said.starts_with("~ topic t\n    partitions: 2 -> 3\n"), "{said}");
    assert!(said.contains("~ producer Deployment retail-producer, which replaces its pods\n"), "{said}");
    assert!(!said.contains("processor Deployment"), "{said}");
    let (code, _, error) = plan(&["-f", &immutable, "--from", &old]);
    assert!(
        code == 2
            && error.contains("topic.name cannot be changed once the topic or the Postgres schema exists: create"),
        "{error}"
    );
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn apply_schema_names_the_session_that_it_waits_for() {
    let case = Case::shared().start().await;
    let reader = case.client_at(&format!("{}?application_name=tableau", Postgres::shared().url())).await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM retail").await.unwrap();
    case.client()
        .await
        .batch_execute("UPDATE definitions SET fingerprint = 'old' WHERE name = 'view retail'")
        .await
        .unwrap();
    let mut command = case.command(RETAIL);
    command.arg("apply-schema");
    let mut apply = Program::run(command);
    apply.says("view retail cannot be replaced: session ").await;
    apply.says(" of user retail (application \"tableau\") has held it for ").await;
    apply.says(" s; trying again until 30 s have passed").await;
    reader.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(apply.exit_code(Duration::from_secs(60)).await, 0, "{}", apply.output());
}

/// Standard output is a full disk.
#[test]
fn result_that_cannot_be_written_is_a_failure() {
    let case = Case::shared().build();
    let file = case.file.to_str().unwrap();
    for (program, arguments) in [
        ("retail", &["crd"][..]),
        ("retail", &["completions", "bash"]),
        ("retail", &["--help"]),
        ("retail", &["validate", "-f", file]),
        ("retail", &["plan", "-f", file]),
        ("retail", &["sample", "--file", file]),
        ("retail-operator", &["crd"]),
        ("retail-operator", &["rbac"]),
        ("retail-processor", &["--version"]),
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = Command::new(RETAIL).arg0(program).args(arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{program} {arguments:?}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let closed = Command::new(RETAIL).arg0(program).args(arguments).stdout(writer).output().unwrap();
        assert_eq!(closed.status.code(), Some(0), "{program} {arguments:?}");
    }
}

/// No broker listens at the address.
#[test]
fn kafka_password_without_tls_is_warned_about() {
    let case = Case::shared().build();
    let yaml = std::fs::read_to_string(&case.file).unwrap();
    let warned = |mechanism: &str| {
        let sasl = format!("sasl: {{mechanism: {mechanism}, secret: {{name: kafka}}}}");
        let with_sasl = yaml.lines().map(|line| match line.split_once("kafka: {") {
            Some((before, rest)) => format!("{before}kafka: {{{sasl}, {rest}\n"),
            None => format!("{line}\n"),
        });
        std::fs::write(&case.file, with_sasl.collect::<String>()).unwrap();
        let mut command = case.command(RETAIL);
        command.args(["apply-topic", "--bootstrap-servers", "127.0.0.1:1"]);
        let output = command.env("RETAIL_KAFKA_USERNAME", "u").env("RETAIL_KAFKA_PASSWORD", "p").output().unwrap();
        let (code, _, error) = ended(&output);
        assert_eq!(code, 1, "{error}");
        error.contains("sends the password without TLS")
    };
    assert!(warned("PLAIN"));
    assert!(!warned("SCRAM-SHA-512"));
}

//! The commands and flags of all programs as one page of Markdown: docs/reference/commands.md.

use std::fmt::Write;

use clap::{Arg, ArgAction, Command};
use retail_runtime::markdown::cell;

/// The page. Flags of `shared` that another command has as well are in one table at its beginning.
pub(super) fn page(programs: impl IntoIterator<Item = Command>, shared: &str) -> String {
    let mut programs: Vec<Command> = programs.into_iter().collect();
    programs.iter_mut().for_each(Command::build);
    let shared: Vec<Arg> = programs
        .iter()
        .find_map(|program| program.find_subcommand(shared))
        .map(|command| command.get_arguments().filter(|arg| is_shown(arg)).cloned().collect())
        .unwrap_or_default();
    let mut text = "# Commands and flags\n\n\
        This page is written by `make docs`. [Programs](cli.md) describes exit codes and signals.\n\n\
        ## Flags of all commands with a pipeline\n\n\
        All commands with `-f` have these flags; [Connections](connections.md) describes them.\n"
        .to_owned();
    table(&mut text, &shared.iter().collect::<Vec<_>>());
    for program in &programs {
        command(&mut text, program, program.get_name(), 2, &shared);
    }
    text
}

/// The section of a command, and those of its subcommands.
fn command(text: &mut String, command: &Command, path: &str, level: usize, shared: &[Arg]) {
    let heading = "#".repeat(level);
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    write!(text, "\n{heading} {path}\n\n{}\n", sentence(&about)).expect("writing to a string does not fail");
    let subcommands: Vec<&Command> =
        command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set()).collect();
    let arguments: Vec<&Arg> = command.get_arguments().filter(|arg| is_shown(arg)).collect();
    if subcommands.is_empty() {
        write!(text, "\n```text\n{}\n```\n", usage(path, &arguments)).expect("writing to a string does not fail");
    }
    let own: Vec<&Arg> = arguments.into_iter().filter(|arg| !shared.iter().any(|other| is_same(arg, other))).collect();
    table(text, &own);
    for subcommand in subcommands {
        self::command(text, subcommand, &format!("{path} {}", subcommand.get_name()), level + 1, shared);
    }
}

fn is_same(arg: &Arg, other: &Arg) -> bool {
    arg.get_id() == other.get_id() && arg.get_help() == other.get_help()
}

fn is_shown(arg: &Arg) -> bool {
    !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version")
}

/// The required arguments, and whether there are others.
fn usage(path: &str, arguments: &[&Arg]) -> String {
    let (positional, flags): (Vec<&Arg>, Vec<&Arg>) = arguments.iter().partition(|arg| arg.is_positional());
    let mut words = vec![path.to_owned()];
    words.extend(flags.iter().filter(|flag| flag.is_required_set()).map(|flag| match flag.get_short() {
        Some(short) => format!("-{short} {}", value(flag)),
        None => name(flag),
    }));
    if flags.iter().any(|flag| !flag.is_required_set()) {
        words.push("[OPTIONS]".to_owned());
    }
    words.extend(
        positional.iter().map(|arg| if arg.is_required_set() { name(arg) } else { format!("[{}]", name(arg)) }),
    );
    words.join(" ")
}

fn table(text: &mut String, arguments: &[&Arg]) {
    if !arguments.is_empty() {
        text.push_str("\n| Argument | Environment | Default | Description |\n|---|---|---|---|\n");
        arguments.iter().for_each(|arg| row(text, arg));
    }
}

fn row(text: &mut String, arg: &Arg) {
    let environment = arg.get_env().map(|env| format!("`{}`", env.to_string_lossy())).unwrap_or_default();
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    // Defaults that a program derives stand in the help text, in the form that clap uses.
    let (help, derived) = match help.split_once(" [default: ") {
        Some((help, derived)) => (help, derived.trim_end_matches(']')),
        None => (&*help, ""),
    };
    let defaults: Vec<String> =
        arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    let default = match () {
        () if arg.is_required_set() => "required".to_owned(),
        () if !takes_value(arg) => "off".to_owned(),
        () if defaults.is_empty() => derived.to_owned(),
        () => defaults.join(" "),
    };
    let mut description = sentence(help);
    let values: Vec<String> = arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if takes_value(arg) && !values.is_empty() {
        write!(description, " One of {}.", values.join(", ")).expect("writing to a string does not fail");
    }
    let cells = [format!("`{}`", name(arg)), environment, default, description].map(|text| cell(&text));
    writeln!(text, "| {} |", cells.join(" | ")).expect("writing to a string does not fail");
}

/// Long and short name of a flag with its value, or the name of a positional argument.
fn name(arg: &Arg) -> String {
    if arg.is_positional() {
        return value(arg);
    }
    let flag = match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (None, Some(long)) => format!("--{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, None) => String::new(),
    };
    if takes_value(arg) { format!("{flag} {}", value(arg)) } else { flag }
}

/// The value of an argument, as its help shows it.
fn value(arg: &Arg) -> String {
    let names = arg.get_value_names().map(|names| names.join(" ")).unwrap_or_default();
    if matches!(arg.get_action(), ArgAction::Append) { format!("{names}…") } else { names }
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

/// Help texts of clap end without a full stop.
fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

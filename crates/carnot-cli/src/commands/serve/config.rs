//! `--config`: a file of what else flags say. A flag or an environment variable goes before it, a default after it.
//!
//! The file's values become the defaults of the command line, so that they are read, checked and documented in one place.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use clap::{Arg, Command as CommandLine, CommandFactory, FromArgMatches};
use toml::{Table, Value};

use crate::cli::{Cli, Command, ServeArguments};

/// The arguments of `carnot serve` as `line` gives them, with those of the file at `path` where it gives none.
pub fn arguments(path: &Path, line: &[OsString]) -> anyhow::Result<ServeArguments> {
    let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    let table: Table = toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
    let mut command = Cli::command();
    for (key, value) in table {
        let wanted = Some(key.replace('-', "_"));
        let found = command.find_subcommand("serve").and_then(|serve| {
            serve
                .get_arguments()
                .find(|&argument| key_of(argument) == wanted)
        });
        let Some(argument) = found else {
            bail!("{}: {}", path.display(), unknown(&command, &key));
        };
        let id = argument.get_id().clone();
        let values = texts(value).with_context(|| format!("{}: {key}", path.display()))?;
        command = command.mut_subcommand("serve", |serve| {
            serve.mut_arg(id, |argument| argument.default_values(values))
        });
    }
    let matches = command.try_get_matches_from(line);
    let matches = matches.with_context(|| format!("with {}", path.display()))?;
    match Cli::from_arg_matches(&matches)?.command {
        Command::Serve(arguments) => Ok(*arguments),
        _ => bail!(
            "{}: expected the arguments of `carnot serve`",
            path.display()
        ),
    }
}

/// The key of an argument: its long flag with `_` for `-`; `models` for the models. None for what no file can say.
fn key_of(argument: &Arg) -> Option<String> {
    let name = argument.get_long().unwrap_or(argument.get_id().as_str());
    (!matches!(name, "config" | "help" | "version")).then(|| name.replace('-', "_"))
}

fn unknown(command: &CommandLine, key: &str) -> String {
    let arguments = command
        .find_subcommand("serve")
        .into_iter()
        .flat_map(CommandLine::get_arguments);
    let mut keys: Vec<String> = arguments.filter_map(key_of).collect();
    keys.sort();
    format!("expected one of {}, got {key}", keys.join(", "))
}

/// What would be written on the command line.
fn texts(value: Value) -> anyhow::Result<Vec<String>> {
    match value {
        Value::String(text) => Ok(vec![text]),
        Value::Integer(number) => Ok(vec![number.to_string()]),
        Value::Float(number) => Ok(vec![number.to_string()]),
        Value::Boolean(truth) => Ok(vec![truth.to_string()]),
        Value::Array(values) => {
            let texts = values
                .into_iter()
                .map(texts)
                .collect::<anyhow::Result<Vec<_>>>()?;
            Ok(texts.concat())
        }
        other => bail!(
            "expected a text, a number, a truth value or a list, got a {}",
            other.type_str()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(file: &str, line: &[&str]) -> anyhow::Result<ServeArguments> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("carnot.toml");
        fs::write(&path, file).unwrap();
        let line = ["carnot", "serve"].iter().chain(line).map(OsString::from);
        arguments(&path, &line.collect::<Vec<_>>())
    }

    #[test]
    fn the_file_goes_after_flags_and_before_defaults() {
        let file = "models = ['a.gguf', 'b.gguf']\nport = 9000\nmax-queue = 7\nno_prefix_cache = true\napi_key = ['alice:sk-1', 'bob:sk-2']";
        let arguments = parsed(file, &["--port", "9001"]).unwrap();
        assert_eq!(arguments.port, 9001);
        assert_eq!(arguments.models.len(), 2);
        assert_eq!(arguments.limits.max_queue, 7);
        assert!(arguments.scheduling.no_prefix_cache);
        assert_eq!(arguments.limits.api_keys, ["alice:sk-1", "bob:sk-2"]);
        assert_eq!(arguments.limits.drain_seconds, 30);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let error = |file| format!("{:#}", parsed(file, &[]).unwrap_err());
        assert!(
            error("prot = 1").contains("got prot"),
            "{}",
            error("prot = 1")
        );
        assert!(error("prot = 1").contains("no_prefix_cache"));
        assert!(
            error("port = 'x'").contains("--port"),
            "{}",
            error("port = 'x'")
        );
        assert!(
            error("[port]").contains("got a table"),
            "{}",
            error("[port]")
        );
        assert!(
            error("port = ").contains("carnot.toml"),
            "{}",
            error("port = ")
        );
    }
}

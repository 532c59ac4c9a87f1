//! A model's chat template: a Jinja program that turns messages into the text that the model was trained on.

mod json;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Value, context};
use serde::Serialize;

use crate::error::Error;

/// A compiled template. Rendering has a budget: a hostile template cannot loop for ever.
#[derive(Debug)]
pub struct ChatTemplate {
    file: String,
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

/// Instructions that one rendering may take; a long conversation takes tens of thousands.
const FUEL: u64 = 5_000_000;

const NAME: &str = "chat_template";

impl ChatTemplate {
    /// Compiles `source`; `bos_token` and `eos_token` are the texts that it may name.
    pub fn new(file: &str, source: &str, bos_token: &str, eos_token: &str) -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_syntax(trimming_syntax());
        environment.set_fuel(Some(FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<Value, minijinja::Error> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment.add_filter("tojson", json::to_json);
        environment.add_function("strftime_now", |format: String| {
            strftime(std::time::SystemTime::now(), &format)
        });
        let result = environment.add_template_owned(NAME, source.to_owned());
        result.map_err(|source| Error::ChatTemplate {
            file: file.to_owned(),
            source,
        })?;
        let (bos_token, eos_token) = (bos_token.to_owned(), eos_token.to_owned());
        Ok(Self {
            file: file.to_owned(),
            environment,
            bos_token,
            eos_token,
        })
    }

    /// The text of a conversation; with `add_generation_prompt` it ends where the assistant's answer begins.
    ///
    /// `messages` are objects with `role` and `content`, `tools` what the model may call, `arguments` an object of what else the
    /// template asks for. The text holds its own beginning-of-text token where the template writes one: encode it without adding another.
    pub fn render(
        &self,
        messages: &[impl Serialize],
        tools: &[impl Serialize],
        arguments: &impl Serialize,
        add_generation_prompt: bool,
    ) -> Result<String, Error> {
        let context = context! {
            messages => Value::from(Serde(messages)),
            // Templates ask whether there are any by `if tools`, and by `tools is none`.
            tools => (!tools.is_empty()).then(|| Value::from(Serde(tools))),
            add_generation_prompt,
            bos_token => self.bos_token.as_str(),
            eos_token => self.eos_token.as_str(),
            ..Value::from(Serde(arguments))
        };
        let rendered = self
            .environment
            .get_template(NAME)
            .and_then(|template| template.render(context));
        rendered.map_err(|source| Error::ChatTemplate {
            file: self.file.clone(),
            source,
        })
    }
}

/// Templates are written for transformers, which trims the lines of block tags.
fn trimming_syntax() -> SyntaxConfig {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .expect("the delimiters are the default ones")
}

/// The directives that templates use, in UTC.
fn strftime(now: std::time::SystemTime, format: &str) -> String {
    let seconds = now
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    let (year, month, day) = civil_date(seconds / 86_400);
    let month_name = MONTHS[month as usize - 1];
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let spelled = match characters.next() {
            Some('Y') => year.to_string(),
            Some('m') => format!("{month:02}"),
            Some('d') => format!("{day:02}"),
            Some('B') => month_name.to_owned(),
            Some('b') => month_name[..3].to_owned(),
            Some('H') => format!("{:02}", seconds / 3600 % 24),
            Some('M') => format!("{:02}", seconds / 60 % 60),
            Some('S') => format!("{:02}", seconds % 60),
            Some(other) => other.to_string(),
            None => "%".to_owned(),
        };
        text.push_str(&spelled);
    }
    text
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Year, month and day of a count of days since 1970, by Howard Hinnant's `civil_from_days`: years begin in March, so that the
/// leap day is the last of its year.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::json;

    use super::*;

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate::new("test", source, "<s>", "</s>").unwrap()
    }

    fn render(source: &str, tools: &[serde_json::Value]) -> Result<String, Error> {
        let messages = [
            json!({ "role": "system", "content": " Be brief. " }),
            json!({ "role": "user", "content": "Hi" }),
        ];
        template(source).render(&messages, tools, &json!({ "thinking": false }), true)
    }

    #[test]
    fn python_methods_and_special_tokens_work() {
        let source = "{{ bos_token }}{% for m in messages %}\n[{{ m['role'].upper() }}] {{ m.content.strip() }}{{ eos_token }}\n{% endfor %}\n{% if add_generation_prompt %}[A]{% endif %}";
        let text = render(source, &[]).unwrap();
        assert_eq!(text, "<s>[SYSTEM] Be brief.</s>\n[USER] Hi</s>\n[A]");
    }

    #[test]
    fn a_template_may_refuse_with_its_own_words() {
        let error = render("{{ raise_exception('roles must alternate') }}", &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "test: chat template: roles must alternate"
        );
    }

    #[test]
    fn an_endless_template_runs_out_of_fuel() {
        let source = "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}{% endfor %}{% endfor %}{% endfor %}";
        assert!(render(source, &[]).is_err());
    }

    #[test]
    fn tools_and_arguments_reach_the_template() {
        let source = "{% if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% else %}{{ tools is none }}{% endif %} {{ thinking }}";
        assert_eq!(render(source, &[]).unwrap(), "True False");
        let tool = json!({ "type": "function", "function": { "name": "<é>", "arguments": [] } });
        // As Python writes it: in the order that was given, with spaces, nothing escaped that need not be.
        assert_eq!(
            render(source, &[tool]).unwrap(),
            r#"{"type": "function", "function": {"name": "<é>", "arguments": []}} False"#
        );
    }

    #[test]
    fn a_broken_template_is_an_error_at_once() {
        assert!(ChatTemplate::new("test", "{% for %}", "", "").is_err());
    }

    #[test]
    fn dates_are_civil() {
        let at = |seconds| {
            strftime(
                UNIX_EPOCH + Duration::from_secs(seconds),
                "%d %b %Y %B %m %H:%M:%S %%",
            )
        };
        assert_eq!(at(0), "01 Jan 1970 January 01 00:00:00 %");
        assert_eq!(at(1_709_251_199), "29 Feb 2024 February 02 23:59:59 %");
        assert_eq!(at(4_107_542_400), "01 Mar 2100 March 03 00:00:00 %");
    }
}

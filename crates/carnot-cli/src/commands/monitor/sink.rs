//! Where samples go: lines, objects or rows, to standard output or a file.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::lines;
use crate::cli::SampleFormat;
use crate::monitor::sample::Sample;
use crate::printer::Printer;

/// Takes samples.
pub struct Sink<'a> {
    format: SampleFormat,
    file: Option<(PathBuf, File)>,
    printer: &'a Printer,
    /// The names of the columns, once there are any.
    columns: Option<Vec<String>>,
    /// What the server said last of why it says nothing.
    error: Option<String>,
}

impl<'a> Sink<'a> {
    /// To the file at `path`, which is written anew, or to standard output.
    pub fn open(
        format: SampleFormat,
        path: Option<&Path>,
        printer: &'a Printer,
    ) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            let file = File::create(path).with_context(|| path.display().to_string())?;
            Ok::<_, anyhow::Error>((path.to_owned(), file))
        };
        Ok(Self {
            format,
            file: path.map(open).transpose()?,
            printer,
            columns: None,
            error: None,
        })
    }

    /// Writes it at once.
    pub fn write(&mut self, sample: &Sample) -> anyhow::Result<()> {
        self.complain(sample);
        let text = match self.format {
            SampleFormat::Console => lines::of(sample),
            SampleFormat::Json => sample.json().to_string() + "\n",
            SampleFormat::Csv => self.row(sample),
        };
        match &mut self.file {
            None => self.printer.result(&text)?,
            Some((path, file)) => file
                .write_all(text.as_bytes())
                .with_context(|| path.display().to_string())?,
        }
        Ok(())
    }

    /// Says once why a server says nothing, where it is easily missed among values; lines have it in them.
    fn complain(&mut self, sample: &Sample) {
        let told = sample.server.as_ref().map(|server| &server.told);
        let error = told.and_then(|told| told.as_ref().err());
        if let Some(error) = error.filter(|error| self.error.as_ref() != Some(error))
            && self.format != SampleFormat::Console
        {
            self.printer
                .note(&format!("carnot: {error}; it is asked again"));
        }
        self.error = error.cloned();
    }

    /// A row, the first under the header. A column that was not there at first has no place.
    fn row(&mut self, sample: &Sample) -> String {
        let cells = sample.row();
        let mut text = String::new();
        let columns = self.columns.get_or_insert_with(|| {
            let names: Vec<String> = cells.iter().map(|(name, _)| name.clone()).collect();
            text = names.join(",") + "\n";
            names
        });
        let cell = |column: &String| {
            let found = cells.iter().find(|(name, _)| name == column);
            found.map_or("", |(_, cell)| cell)
        };
        let cells: Vec<&str> = columns.iter().map(cell).collect();
        text + &cells.join(",") + "\n"
    }
}

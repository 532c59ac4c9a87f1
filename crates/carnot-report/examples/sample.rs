//! Writes every form of the tests' sample profile to a folder: `cargo run -p carnot-report --example sample -- FOLDER`.

#[path = "../tests/it/fixture.rs"]
mod fixture;

use std::{env, fs, io, path::PathBuf};

use carnot_report::Form;

fn main() -> io::Result<()> {
    let folder = PathBuf::from(
        env::args()
            .nth(1)
            .unwrap_or_else(|| "carnot-out/sample".to_owned()),
    );
    fs::create_dir_all(&folder)?;
    let (analysis, trace) = (fixture::analysis(), fixture::trace());
    for form in Form::ALL {
        fs::write(
            folder.join(form.file_name()),
            form.render(&analysis, &trace),
        )?;
    }
    Ok(())
}

//! Manual pages and shell completions, out of the command line itself. Whoever makes a package asks for them.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use contract::Finding;

use crate::{Cli, Exit, out, refuse};

const NAME: &str = "lighterman";

/// What the command line does not say of itself, at the end of the first page.
const MORE: &str = r#".SH "EXIT STATUS"
.TP
0
done
.TP
1
trouble was found: a check failed, the agent does not run, a person left a set\-up
.TP
2
the settings or the command line are wrong
.TP
3
the state folder cannot be used
.SH FILES
.TP
\fI/etc/lighterman/lighterman.toml\fR
the settings of the service
.TP
\fI/var/lib/lighterman\fR
its state
.TP
\fI/var/log/lighterman\fR
its log, as JSON lines; the journal has the same lines
.TP
\fI/etc/default/lighterman\fR
variables of the service: LIGHTERMAN__SOURCE__ERP__HOST and others take the place of settings
.SH "SEE ALSO"
\fBjournalctl\fR(1), \fBsystemctl\fR(1)
"#;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where; folders man, bash, zsh and fish are made in it.
    folder: PathBuf,
}

pub(crate) fn pages(options: &Options) -> Exit {
    match write(&options.folder) {
        Ok(()) => {
            out(&format!("wrote {}", options.folder.display()));
            Exit::Ok
        }
        Err(error) => {
            let what = format!("write {}", options.folder.display());
            refuse(&[Finding::fail(what, error.to_string())], false);
            Exit::Trouble
        }
    }
}

fn write(folder: &Path) -> std::io::Result<()> {
    let inner = |name: &str| -> std::io::Result<PathBuf> {
        let inner = folder.join(name);
        std::fs::create_dir_all(&inner)?;
        Ok(inner)
    };
    let man = inner("man")?;
    clap_mangen::generate_to(Cli::command(), &man)?;
    let mut first = std::fs::File::options()
        .append(true)
        .open(man.join(format!("{NAME}.1")))?;
    first.write_all(MORE.as_bytes())?;
    for (shell, name) in [
        (Shell::Bash, "bash"),
        (Shell::Zsh, "zsh"),
        (Shell::Fish, "fish"),
    ] {
        clap_complete::generate_to(shell, &mut Cli::command(), NAME, inner(name)?)?;
    }
    Ok(())
}

//! The server.

use contract::SourceError;

use crate::session::Session;

/// `SERVERPROPERTY('EngineEdition')`: Standard, Web and Business Intelligence.
const STANDARD: i64 = 2;
const EXPRESS: i64 = 4;
/// Azure SQL Database, which has no agent: it captures by itself.
const AZURE: i64 = 5;
/// Those of its service objectives that have less than a core, and no change data capture.
const TOO_SMALL: [&str; 4] = ["Basic", "S0", "S1", "S2"];
/// The build of 2016 SP1, with which Standard got change data capture.
const STANDARD_FROM: [u32; 3] = [13, 0, 4001];

/// The server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Engine {
    pub(crate) engine_edition: i64,
    pub(crate) edition: String,
    pub(crate) version: String,
    /// What is paid for, in Azure: `S1`, `GP_Gen5_2`, `ElasticPool`.
    pub(crate) service: Option<String>,
}

impl Engine {
    pub(crate) async fn read(session: &mut Session) -> Result<Self, SourceError> {
        let doing = "read the server's properties";
        let sql = "SELECT CAST(SERVERPROPERTY('EngineEdition') AS int) AS engine_edition, \
             CAST(SERVERPROPERTY('Edition') AS nvarchar(128)) AS edition, \
             CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128)) AS product_version, \
             CAST(SERVERPROPERTY('ProductMajorVersion') AS nvarchar(16)) AS major";
        let row = session.one(doing, sql, &[]).await?;
        let mut engine = Self {
            engine_edition: row.int(doing, 0)?.unwrap_or(0),
            edition: row.text(doing, 1)?.unwrap_or_default(),
            version: row.text(doing, 2)?.unwrap_or_default(),
            service: None,
        };
        if engine.is_azure() {
            let sql =
                "SELECT CAST(DATABASEPROPERTYEX(DB_NAME(), 'ServiceObjective') AS nvarchar(128))";
            engine.service = session.one(doing, sql, &[]).await?.text(doing, 0)?;
        }
        Ok(engine)
    }

    /// Azure SQL Database: one database that stands for itself.
    pub(crate) fn is_azure(&self) -> bool {
        self.engine_edition == AZURE
    }

    /// Whether change data capture needs SQL Server Agent here.
    pub(crate) fn needs_agent(&self) -> bool {
        !self.is_azure()
    }

    /// Why there can be no change data capture; `None` = nothing speaks against it. Nothing else asks the
    /// server for that but turning it on.
    pub(crate) fn without_cdc(&self) -> Option<String> {
        if self.engine_edition == EXPRESS {
            return Some("it is not in Express".to_owned());
        }
        if self.is_azure() {
            let service = self.service.as_deref().unwrap_or_default();
            return TOO_SMALL.contains(&service).then(|| {
                format!("Azure has it from service objective S3 on, or with vCores, and this is {service}")
            });
        }
        if self.engine_edition != STANDARD {
            return None;
        }
        if self.edition.starts_with("Web") {
            return Some("it is not in Web Edition".to_owned());
        }
        let build = self.version.split('.').map(str::parse);
        let build: Result<Vec<u32>, _> = build.collect();
        match build {
            Ok(build) if build.as_slice() < STANDARD_FROM.as_slice() => Some(format!(
                "{} has it from 2016 SP1 on, and this is {}",
                self.edition, self.version
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editions_without_change_data_capture_say_why() {
        let why = |engine_edition, edition: &str, version: &str| {
            let engine = Engine {
                engine_edition,
                edition: edition.to_owned(),
                version: version.to_owned(),
                service: None,
            };
            engine.without_cdc()
        };
        for (service, too_small) in [
            ("S1", true),
            ("Basic", true),
            ("S3", false),
            ("ElasticPool", false),
        ] {
            let engine = Engine {
                engine_edition: 5,
                edition: "SQL Azure".to_owned(),
                version: "12.0.2000.8".to_owned(),
                service: Some(service.to_owned()),
            };
            assert_eq!(engine.without_cdc().is_some(), too_small, "{service}");
        }
        let standard = "Standard Edition (64-bit)";
        for (engine_edition, edition, version, found) in [
            (
                4,
                "Express Edition (64-bit)",
                "16.0.4135.4",
                Some("Express"),
            ),
            (
                2,
                "Web Edition (64-bit)",
                "15.0.2000.5",
                Some("Web Edition"),
            ),
            (2, standard, "13.0.1601.5", Some("from 2016 SP1 on")),
            (2, standard, "12.0.6024.0", Some("this is 12.0.6024.0")),
            (2, standard, "13.0.4001.0", None),
            (2, standard, "16.0.1000.6", None),
            // What is not understood speaks against nothing.
            (2, standard, "x", None),
            (3, "Developer Edition (64-bit)", "11.0.2100.60", None),
            (5, "SQL Azure", "12.0.2000.8", None),
            (8, "SQL Azure", "12.0.2000.8", None),
        ] {
            let why = why(engine_edition, edition, version);
            let fits = match found {
                Some(found) => why.as_ref().is_some_and(|why| why.contains(found)),
                None => why.is_none(),
            };
            assert!(fits, "{edition} {version}: {why:?}");
        }
    }
}

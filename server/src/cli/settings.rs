//! A flag for every setting, from the table; and where the configuration file is.

use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{ConfigError, Resolved, SETTINGS, Sources, resolve};

/// Read when nobody names another and it is there.
const FILE_DEFAULT: &str = "cardinal.yaml";
const FILE_VARIABLE: &str = "CARDINAL_CONFIG";

/// What the command line says about settings.
#[derive(Clone, Debug, Default)]
pub(super) struct SettingFlags {
    file: Option<PathBuf>,
    values: Vec<(&'static str, String)>,
}

impl SettingFlags {
    /// All settings from flags, environment and file.
    pub(super) fn resolve(&self) -> Result<Resolved, ConfigError> {
        let environment: Vec<_> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        resolve(&Sources { file: self.file(), environment, flags: self.values.clone() })
    }

    /// The configuration file in force.
    pub(super) fn file(&self) -> Option<PathBuf> {
        let named = self.file.clone().or_else(|| std::env::var_os(FILE_VARIABLE).map(PathBuf::from));
        named.or_else(|| Path::new(FILE_DEFAULT).exists().then(|| FILE_DEFAULT.into()))
    }
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .help("Configuration file [env: CARDINAL_CONFIG] [default: cardinal.yaml, if it is there]");
        let flags = SETTINGS.iter().map(|setting| {
            Arg::new(setting.name)
                .long(setting.flag())
                .value_name(setting.kind)
                .help_heading("Settings (also in the file and the environment)")
                .help(format!("{} [default: {}]", setting.doc.replace('`', ""), setting.default))
        });
        command.arg(file).args(flags)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let text = |name: &str| {
            let given = matches.value_source(name) == Some(ValueSource::CommandLine);
            given.then(|| matches.get_one::<String>(name).cloned()).flatten()
        };
        let values = SETTINGS.iter().filter_map(|s| Some((s.name, text(s.name)?))).collect();
        Ok(Self { file: text("config").map(PathBuf::from), values })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> SettingFlags {
        let command = SettingFlags::augment_args(Command::new("x"));
        let matches = command.try_get_matches_from(args).expect("valid");
        SettingFlags::from_arg_matches(&matches).expect("valid")
    }

    #[test]
    fn every_setting_is_a_flag() {
        let flags = parse(&["x", "--wal-sync", "interval", "--config", "a.yaml", "--limits-label-names=7"]);
        assert_eq!(
            flags.values,
            [("wal.sync", "interval".to_owned()), ("limits.label_names", "7".to_owned())]
        );
        assert_eq!(flags.file(), Some("a.yaml".into()));
        assert!(parse(&["x"]).values.is_empty());
    }
}

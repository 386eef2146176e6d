//! The Dockerfile as data: stages with what each step does. A form that the file does not use is an error, not ignored.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use parse_dockerfile::{Command, Flag, HealthcheckArguments, Instruction, JsonOrStringArray, Source};

/// Text by name.
pub type Words = BTreeMap<String, String>;

/// One step of a build that changes files.
#[derive(Debug, Clone)]
pub enum Step {
    /// `RUN`, in the shell's words.
    Run(String),
    /// `COPY`, out of another stage or out of the context.
    Copy { from: Option<String>, sources: Vec<String>, to: String },
}

/// One stage, or, with what it stands on, an image.
#[derive(Debug, Clone, Default)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// The stage or the image that it stands on.
    pub base: String,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// Build arguments and their defaults.
    pub arguments: Words,
    /// The environment of what runs in it.
    pub environment: Words,
    /// Labels.
    pub labels: Words,
    /// The last `WORKDIR`.
    pub folder: Option<String>,
    /// The last `USER`.
    pub user: Option<String>,
    /// The last `ENTRYPOINT`.
    pub entrypoint: Vec<String>,
    /// The last `HEALTHCHECK`'s command.
    pub healthcheck: Vec<String>,
    /// `VOLUME`s.
    pub volumes: Vec<String>,
    /// `EXPOSE`d ports.
    pub ports: Vec<String>,
}

/// Reads a Dockerfile.
pub fn parse(text: &str) -> Result<(Words, Vec<Stage>)> {
    let file = parse_dockerfile::parse(text).context("the Dockerfile cannot be parsed")?;
    let mut global = Words::new();
    for argument in file.global_args() {
        global.extend(pairs(&argument.arguments.value)?);
    }
    let stages = file.stages().map(|stage| {
        let (_, name) = stage.from.as_.as_ref().context("every stage has a name")?;
        let mut found =
            Stage { name: name.value.to_string(), base: filled(&stage.from.image.value, &global), ..Stage::default() };
        stage.instructions.iter().try_for_each(|instruction| found.take(instruction))?;
        anyhow::Ok(found)
    });
    Ok((global.clone(), stages.collect::<Result<_>>()?))
}

impl Stage {
    fn take(&mut self, instruction: &Instruction<'_>) -> Result<()> {
        match instruction {
            Instruction::Arg(arg) => self.arguments.extend(pairs(&arg.arguments.value)?),
            Instruction::Env(env) => self.environment.extend(pairs(&env.arguments.value)?),
            Instruction::Label(label) => {
                let arguments = &self.arguments;
                let labels = pairs(&label.arguments.value)?.into_iter();
                self.labels.extend(labels.map(|(key, value)| (key, filled(&value, arguments))));
            }
            Instruction::Workdir(folder) => self.folder = Some(folder.arguments.value.to_string()),
            Instruction::User(user) => self.user = Some(user.arguments.value.to_string()),
            Instruction::Expose(ports) => self.ports.extend(ports.arguments.iter().map(|port| port.value.to_string())),
            Instruction::Volume(volume) => match &volume.arguments {
                JsonOrStringArray::Json(list) => self.volumes.extend(list.value.iter().map(|v| v.value.to_string())),
                JsonOrStringArray::String(list) => self.volumes.extend(list.iter().map(|v| v.value.to_string())),
            },
            Instruction::Entrypoint(entrypoint) => self.entrypoint = exec_form(&entrypoint.arguments)?,
            Instruction::Healthcheck(check) => match &check.arguments {
                HealthcheckArguments::Cmd { arguments, .. } => self.healthcheck = exec_form(arguments)?,
                other => bail!("not a health check with a command: {other:?}"),
            },
            Instruction::Copy(copy) => {
                let sources = copy.src.iter().map(|source| match source {
                    Source::Path(path) => Ok(path.value.to_string()),
                    other => bail!("not a path: {other:?}"),
                });
                let from = flags(&copy.options, "from")?.into_iter().next();
                ensure!(copy.options.len() == usize::from(from.is_some()), "an unknown flag of COPY");
                let sources = sources.collect::<Result<_>>()?;
                self.steps.push(Step::Copy { from, sources, to: copy.dest.value.to_string() });
            }
            Instruction::Run(run) => {
                let Command::Shell(line) = &run.arguments else { bail!("a RUN without a shell") };
                ensure!(run.options.is_empty(), "an unknown flag of RUN");
                self.steps.push(Step::Run(line.value.to_owned()));
            }
            other => bail!("a step that nobody runs here: {other:?}"),
        }
        Ok(())
    }
}

fn flags(flags: &[Flag<'_>], name: &str) -> Result<Vec<String>> {
    let wanted = flags.iter().filter(|flag| flag.name.value == name);
    wanted.map(|flag| Ok(flag.value.as_ref().context("a flag without a value")?.value.to_string())).collect()
}

/// Without a shell in the image, only the exec form can run.
fn exec_form(command: &Command<'_>) -> Result<Vec<String>> {
    match command {
        Command::Exec(words) => Ok(words.value.iter().map(|word| word.value.to_string()).collect()),
        other => bail!("needs a shell: {other:?}"),
    }
}

/// `KEY=value KEY="a value"`, over several lines.
fn pairs(text: &str) -> Result<Words> {
    let mut found = Words::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, tail) = rest.split_once('=').with_context(|| format!("not KEY=value: {rest}"))?;
        let (value, tail) = match tail.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').with_context(|| format!("a quote stays open: {rest}"))?,
            None => tail.split_once(char::is_whitespace).unwrap_or((tail, "")),
        };
        found.insert(key.to_owned(), value.to_owned());
        rest = tail.trim_start_matches(|c: char| c.is_whitespace() || c == '\\');
    }
    Ok(found)
}

fn filled(text: &str, arguments: &Words) -> String {
    arguments.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
}

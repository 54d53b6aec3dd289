//! `create`: objects of manifests, or of a few words.

mod data;
mod deployment;
mod job;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use coracle_manifests::documents;
use serde_json::{Value, json};

use crate::error::VerbError;
use crate::making::{Making, object};
use crate::session::{Out, Session};
use data::Data;

/// Creates objects of manifests, or of a few words
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Create {
    /// A file or a folder of manifests, or - for standard input
    #[arg(short, long, value_name = "PATH", required = true)]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    making: Making,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// A namespace
    #[command(visible_alias = "ns")]
    Namespace {
        name: String,
        #[command(flatten)]
        making: Making,
    },
    /// A deployment
    #[command(visible_alias = "deploy")]
    Deployment {
        name: String,
        /// Its image; several for several containers
        #[arg(long, required = true)]
        image: Vec<String>,
        /// How many pods
        #[arg(long, default_value_t = 1)]
        replicas: u32,
        /// The port that the container listens on
        #[arg(long)]
        port: Option<u16>,
        /// What the container runs, after --
        #[arg(last = true)]
        command: Vec<String>,
        #[command(flatten)]
        making: Making,
    },
    /// A job, or a job of a cron job
    Job {
        name: String,
        /// Its image
        #[arg(long, required_unless_present = "from", conflicts_with = "from")]
        image: Option<String>,
        /// As `cronjob/NAME`
        #[arg(long)]
        from: Option<String>,
        /// What the container runs, after --
        #[arg(last = true)]
        command: Vec<String>,
        #[command(flatten)]
        making: Making,
    },
    /// A config map
    #[command(visible_alias = "cm")]
    Configmap {
        name: String,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        making: Making,
    },
    /// A secret
    Secret {
        #[command(subcommand)]
        of: Secret,
    },
    /// A service account
    #[command(visible_alias = "sa")]
    Serviceaccount {
        name: String,
        #[command(flatten)]
        making: Making,
    },
}

#[derive(Debug, Clone, Subcommand)]
enum Secret {
    /// Of any values
    Generic {
        name: String,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        making: Making,
    },
}

impl Create {
    /// Creates them.
    pub async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        let Some(what) = &self.what else { return self.manifests(session, out).await };
        let (making, object) = match what {
            What::Namespace { name, making } => (making, object("v1", "Namespace", name, json!({"spec": {}, "status": {}}))),
            What::Serviceaccount { name, making } => (making, object("v1", "ServiceAccount", name, Value::Null)),
            What::Deployment { name, image, replicas, port, command, making } => {
                (making, deployment::of(name, image, *replicas, *port, command))
            }
            What::Job { name, from: Some(from), making, .. } => (making, job::of_cron_job(session, name, from).await?),
            What::Job { name, image, command, making, .. } => (making, job::of_image(name, image.as_deref().unwrap_or_default(), command)),
            What::Configmap { name, data, making } => (making, data.config_map(name)?),
            What::Secret { of: Secret::Generic { name, data, making } } => (making, data.secret(name)?),
        };
        making.make(session, object, "created", out).await
    }

    async fn manifests(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        let manifests = crate::apply::Manifests { filename: self.filename.clone(), paths: Vec::new(), force_conflicts: false };
        let (mut failed, mut any) = (None, false);
        for source in manifests.sources()? {
            let files = source.read().map_err(|error| VerbError::wrong(format!("{}: {error}", source.path().display())))?;
            for file in files {
                let wrong = |why: String| VerbError::wrong(format!("{}: {why}", file.path.display()));
                let parsed = documents::parse(&file.text.clone().map_err(wrong)?).map_err(|why| wrong(why.to_string()))?;
                for manifest in parsed {
                    any = true;
                    if let Err(error) = self.making.make(session, manifest.object, "created", out).await {
                        out.aside(error.to_string());
                        failed = Some(VerbError::Said(1));
                    }
                }
            }
        }
        match failed {
            None if !any => Err(VerbError::wrong("no objects passed to create")),
            failed => failed.map_or(Ok(()), Err),
        }
    }
}

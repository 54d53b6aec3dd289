//! `logs`: what containers wrote.

use clap::Args;
use coracle_api::time;
use futures::stream::{self, SelectAll};
use futures::{AsyncBufReadExt, StreamExt};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::call::{Call, encode};
use crate::error::VerbError;
use crate::pods;
use crate::session::{Out, Session};

/// Prints what containers wrote
#[derive(Debug, Clone, Args)]
pub struct Logs {
    /// A pod's name, or `deployment/NAME` and the like
    #[arg(required_unless_present = "selector", conflicts_with = "selector")]
    what: Option<String>,
    /// The container
    container: Option<String>,
    /// The container
    #[arg(short = 'c', long = "container", value_name = "CONTAINER", conflicts_with = "container")]
    named: Option<String>,
    /// Of all pods with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// Go on with what is written
    #[arg(short, long)]
    follow: bool,
    /// Of the instance before
    #[arg(short, long)]
    previous: bool,
    /// Of all containers of the pod
    #[arg(long)]
    all_containers: bool,
    /// Say before each line where it comes from
    #[arg(long)]
    prefix: bool,
    /// Say when each line was written
    #[arg(long)]
    timestamps: bool,
    /// The last lines only; -1 for all. 10 of each where pods are chosen by labels
    #[arg(long, value_name = "LINES", allow_negative_numbers = true)]
    tail: Option<i64>,
    /// What was written since so long ago, as 5s, 2m or 3h
    #[arg(long, value_name = "DURATION", conflicts_with = "since_time")]
    since: Option<SignedDuration>,
    /// What was written since a time, as 2024-08-30T06:00:00Z
    #[arg(long, value_name = "TIME")]
    since_time: Option<Timestamp>,
}

impl Logs {
    /// Prints them.
    pub async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        let pods = match (&self.selector, &self.what) {
            (Some(selector), _) => pods::selected(session, selector).await?,
            (None, Some(word)) => {
                let (pod, count) = pods::best(session, word).await?;
                if count > 1 {
                    out.aside(format!("Found {count} pods, using pod/{}", pods::text(&pod, "/metadata/name")));
                }
                vec![pod]
            }
            (None, None) => Vec::new(),
        };
        if pods.is_empty() {
            out.aside(format!("No resources found in {} namespace.", session.namespace));
        }
        let mut sources = Vec::new();
        for pod in &pods {
            let name = pods::text(pod, "/metadata/name");
            for container in self.containers(pod, out)? {
                sources.push((name.clone(), container));
            }
        }
        if !self.follow {
            for source in &sources {
                let mut lines = self.open(session, source).await?;
                while let Some(line) = lines.next().await {
                    out.put(line);
                }
            }
            return Ok(());
        }
        let mut all = SelectAll::new();
        for source in &sources {
            all.push(self.open(session, source).await?);
        }
        while let Some(line) = all.next().await {
            out.put(line);
        }
        Ok(())
    }

    fn containers(&self, pod: &Value, out: &mut Out<'_>) -> Result<Vec<String>, VerbError> {
        if self.all_containers {
            return Ok(pods::containers(pod, &["initContainers", "containers", "ephemeralContainers"]));
        }
        let named = self.named.as_deref().or(self.container.as_deref());
        Ok(vec![pods::container(pod, named, out)?])
    }

    fn query(&self, container: &str) -> String {
        let mut query = vec![format!("container={}", encode(container))];
        let flags = [("follow", self.follow), ("previous", self.previous), ("timestamps", self.timestamps)];
        query.extend(flags.iter().filter(|(_, set)| *set).map(|(name, _)| format!("{name}=true")));
        let tail = self.tail.or_else(|| self.selector.as_ref().map(|_| 10)).filter(|lines| *lines >= 0);
        query.extend(tail.map(|lines| format!("tailLines={lines}")));
        query.extend(self.since.map(|since| format!("sinceSeconds={}", since.as_secs())));
        query.extend(self.since_time.map(|since| format!("sinceTime={}", encode(&time::seconds(since)))));
        query.join("&")
    }

    /// The lines of a container, with their ends.
    async fn open(&self, session: &Session, (pod, container): &(String, String)) -> Result<Lines, VerbError> {
        let path = format!("/api/v1/namespaces/{}/pods/{pod}/log?{}", session.namespace, self.query(container));
        let request = Call::get(path).request().map_err(|fault| VerbError::wrong(fault.message))?;
        let reader = Box::pin(session.client.request_stream(request).await?);
        let prefix = if self.prefix { format!("[pod/{pod}/{container}] ") } else { String::new() };
        Ok(Box::pin(stream::unfold((reader, prefix), |(mut reader, prefix)| async move {
            let mut line = prefix.clone().into_bytes();
            match reader.read_until(b'\n', &mut line).await {
                Ok(read) if read > 0 => Some((line, (reader, prefix))),
                _ => None,
            }
        })))
    }
}

type Lines = std::pin::Pin<Box<dyn futures::Stream<Item = Vec<u8>> + Send>>;

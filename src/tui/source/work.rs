//! Work that takes its time: it runs beside the UI and tells what it finds.

use std::any::Any;
use std::sync::Arc;

use coracle_api::clock::Clock;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use super::call::Call;
use super::fault::{Fault, FaultKind};
use super::watch::RowEvent;
use crate::app::App;
use crate::executor::FirstAnswer;
use crate::message::{Message, News, Sub};
use crate::table::{Column, Row};

/// Work to be done.
pub type Work = Box<dyn FnOnce(Outside) -> BoxFuture<'static, ()> + Send>;

/// Work from a function.
pub fn work<F, Fut>(function: F) -> Work
where
    F: FnOnce(Outside) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Box::new(move |outside| Box::pin(function(outside)))
}

/// What work has of the world outside of the application's state.
#[derive(Clone)]
pub struct Outside {
    client: Option<kube::Client>,
    clock: Arc<dyn Clock>,
    messages: UnboundedSender<Message>,
    sub: Sub,
    first: FirstAnswer,
}

impl Outside {
    pub(crate) fn new(
        client: Option<kube::Client>,
        clock: Arc<dyn Clock>,
        messages: UnboundedSender<Message>,
        sub: Sub,
        first: FirstAnswer,
    ) -> Self {
        Self { client, clock, messages, sub, first }
    }

    /// The client of the cluster shown.
    ///
    /// # Errors
    /// There is no connection yet.
    pub fn client(&self) -> Result<kube::Client, Fault> {
        self.client.clone().ok_or_else(|| Fault::new(FaultKind::Unreachable, "not connected yet"))
    }

    /// Asks the server once.
    ///
    /// # Errors
    /// What the server refused, or why it could not be asked.
    pub async fn ask(&self, call: Call) -> Result<Value, Fault> {
        call.send(&self.client()?).await
    }

    /// Reads the items of a list.
    ///
    /// # Errors
    /// What the server refused, or why it could not be asked.
    pub async fn list(&self, path: impl Into<String>) -> Result<Vec<Value>, Fault> {
        let mut answer = self.ask(Call::get(path)).await?;
        Ok(match answer.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        })
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Tells whoever began the work; false if nobody listens any more.
    pub fn tell(&self, news: News) -> bool {
        let more = matches!(news, News::Rows(RowEvent::Listing(_) | RowEvent::Changed(..)));
        let heard = self.messages.send(Message::News(self.sub, news)).is_ok();
        if !more {
            self.first.kept();
        }
        heard
    }

    /// Tells something that only whoever began the work knows.
    pub fn told(&self, what: impl Any + Send) -> bool {
        self.tell(News::Told(Box::new(what)))
    }

    /// Tells all rows of a table; those told before and not now are gone.
    pub fn table(&self, columns: &[Column], rows: Vec<Row>) -> bool {
        self.tell(News::Rows(RowEvent::Listing(columns.to_vec())))
            && self.tell(News::Rows(RowEvent::Changed(rows, Vec::new())))
            && self.tell(News::Rows(RowEvent::Listed))
    }

    /// Tells the rows, or why there are none.
    pub fn table_or_fault(&self, columns: &[Column], rows: Result<Vec<Row>, Fault>) -> bool {
        match rows {
            Ok(rows) => self.table(columns, rows),
            Err(fault) => self.tell(News::Rows(RowEvent::Lost(fault))),
        }
    }

    /// Has something done to the application.
    pub fn then(&self, what: impl FnOnce(&mut App) + Send + 'static) -> bool {
        self.messages.send(Message::Then(Box::new(what))).is_ok()
    }

    /// Sends any message.
    pub fn send(&self, message: Message) -> bool {
        self.messages.send(message).is_ok()
    }

    /// What runs on from here is not waited for any more.
    pub fn under_way(&self) {
        self.first.kept();
    }
}

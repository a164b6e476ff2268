//! Routes, and the gate in front of their handlers.
//!
//! A [`Route`] is made by [`Route::public`], [`Route::agent`] or [`Route::operator`], and its handler takes what only
//! that kind of admission gives: there is no way to register one without saying who may call it.

use std::pin::Pin;
use std::sync::Arc;

use axum::response::Response;
use hyper::{Method, StatusCode};
use klnet_wire::identity::Principal;
use schemars::{Schema, SchemaGenerator};

use super::Context;
use super::auth::{self, Access, Right};
use super::input::{Description, Input, Parts, Takes};
use super::reply::{Refusal, Reply, respond};
use crate::fleet::{Caller, Device};

/// One thing the API does.
pub struct Route {
    /// The HTTP method.
    pub method: Method,
    /// The path; `{id}` stands for one segment.
    pub path: &'static str,
    /// Its name in the API's document.
    pub id: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// Whether the rate at which one source may call it is limited.
    pub paced: bool,
    /// Which parts of a request it takes at all.
    pub takes: Takes,
    /// Describes what it takes.
    pub input: fn(&mut SchemaGenerator, &mut Description),
    /// Describes what it gives.
    pub reply: fn(&mut SchemaGenerator) -> Schema,
    /// Media type of what it gives.
    pub media_type: &'static str,
    action: Action,
}

/// A handler, by whom it serves.
#[derive(Clone)]
enum Action {
    Public(Handler<Anyone>),
    Agent(Handler<Device>),
    Operator(Right, Handler<Caller>),
}

/// Whoever calls a public route.
#[derive(Debug, Clone, Copy)]
pub struct Anyone;

/// A request that was let in: on whose behalf, and with what to do it.
#[derive(Debug)]
pub struct Call<By> {
    /// On whose behalf.
    pub by: By,
    /// The server.
    pub context: Context,
}

/// An admitted request that waits for its body.
pub type Admitted = Box<dyn FnOnce(Parts) -> Answer + Send>;

type Handler<By> = Arc<dyn Fn(Call<By>, Parts) -> Answer + Send + Sync>;
type Answer = Pin<Box<dyn Future<Output = Result<Response, Refusal>> + Send>>;

impl Route {
    /// A route for everyone.
    pub fn public<I, R, F>(
        method: Method,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        handler: impl Fn(Call<Anyone>, I) -> F + Copy + Send + Sync + 'static,
    ) -> Self
    where
        I: Input + 'static,
        R: Reply + 'static,
        F: Future<Output = Result<R, Refusal>> + Send + 'static,
    {
        Self::new::<I, R>(method, path, id, summary, Action::Public(erased(handler)))
    }

    /// A route for enrolled devices.
    pub fn agent<I, R, F>(
        method: Method,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        handler: impl Fn(Call<Device>, I) -> F + Copy + Send + Sync + 'static,
    ) -> Self
    where
        I: Input + 'static,
        R: Reply + 'static,
        F: Future<Output = Result<R, Refusal>> + Send + 'static,
    {
        Self::new::<I, R>(method, path, id, summary, Action::Agent(erased(handler)))
    }

    /// A route for operators who have `right`.
    pub fn operator<I, R, F>(
        right: Right,
        method: Method,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        handler: impl Fn(Call<Caller>, I) -> F + Copy + Send + Sync + 'static,
    ) -> Self
    where
        I: Input + 'static,
        R: Reply + 'static,
        F: Future<Output = Result<R, Refusal>> + Send + 'static,
    {
        Self::new::<I, R>(method, path, id, summary, Action::Operator(right, erased(handler)))
    }

    fn new<I: Input, R: Reply>(
        method: Method,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        action: Action,
    ) -> Self {
        let (input, reply) = (I::describe, R::schema);
        let (takes, media_type) = (I::TAKES, R::MEDIA_TYPE);
        Self { method, path, id, summary, paced: false, takes, input, reply, media_type, action }
    }

    /// The same route, called by one source only so often: before it costs any cryptography.
    #[must_use]
    pub fn paced(self) -> Self {
        Self { paced: true, ..self }
    }

    /// Who may call it.
    pub fn access(&self) -> Access {
        match self.action {
            Action::Public(_) => Access::Public,
            Action::Agent(_) => Access::Agent,
            Action::Operator(right, _) => Access::Operator(right),
        }
    }

    /// Lets a request in, or not: the only way to a handler.
    ///
    /// # Errors
    /// [`Refusal`] when the certificate's holder may not call this route.
    pub fn admit(&self, context: Context, principal: Option<&Principal>) -> Result<Admitted, Refusal> {
        Ok(match self.action.clone() {
            Action::Public(handler) => Box::new(move |parts| handler(Call { by: Anyone, context }, parts)),
            Action::Agent(handler) => {
                let by = auth::device(&context.fleet, principal)?;
                Box::new(move |parts| handler(Call { by, context }, parts))
            }
            Action::Operator(right, handler) => {
                let by = auth::operator(&context.fleet, principal, right)?;
                Box::new(move |parts| handler(Call { by, context }, parts))
            }
        })
    }
}

fn erased<By, I, R, F>(handler: impl Fn(Call<By>, I) -> F + Copy + Send + Sync + 'static) -> Handler<By>
where
    By: Send + 'static,
    I: Input + 'static,
    R: Reply + 'static,
    F: Future<Output = Result<R, Refusal>> + Send + 'static,
{
    Arc::new(move |call, parts| {
        Box::pin(async move {
            let input = I::read(&parts)?;
            Ok(respond(StatusCode::OK, handler(call, input).await?))
        })
    })
}

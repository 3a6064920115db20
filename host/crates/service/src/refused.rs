//! Why a request is refused.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dirigo_api::Problem;
use dirigo_pipeline::Diagnostics;

use crate::findings::problem_of;
use crate::store;

/// A refusal, with the status that it is answered with.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) problem: Problem,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            problem: Problem {
                error: error.into(),
                ..Problem::default()
            },
        }
    }

    pub(crate) fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    pub(crate) fn conflict(error: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, error)
    }

    pub(crate) fn invalid(error: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, error)
    }

    pub(crate) fn forbidden(error: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, error)
    }

    /// More is asked for than a tenant may have.
    pub(crate) fn quota(error: impl Into<String>) -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, error)
    }

    /// A pipeline file with something wrong in it.
    pub(crate) fn of_file(problems: &Diagnostics) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            problem: problem_of("the pipeline cannot run", problems),
        }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        self.help_if(Some(help.into()))
    }

    pub(crate) fn help_if(mut self, help: Option<String>) -> Self {
        self.problem.help = help;
        self
    }
}

/// What the service cannot keep is no fault of the request.
impl From<store::Error> for Refused {
    fn from(error: store::Error) -> Self {
        tracing::error!("{error}");
        // The paths of the host are none of a tenant's business.
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the service cannot keep what it was told; its log says why",
        )
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(self.problem)).into_response()
    }
}

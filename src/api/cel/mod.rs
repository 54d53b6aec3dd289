//! The Common Expression Language as Kubernetes speaks it: an expression is compiled against declared variables (syntax,
//! types, an estimate of its cost) and evaluated on JSON within a budget. The grammar and its tree are the crate `cel`'s;
//! types, evaluation and Kubernetes' libraries are here, because upstream checks types before anything runs, in its own words,
//! and counts the cost of every step.
//!
//! ```text
//! Environment (variables and their types) ─► compile ─► Program ─► evaluate(variables, budget) ─► Value or Error
//! ```
//! A function is a row in a table of `library`: its signature drives both the checker and the evaluator.

mod check;
mod depth;
mod evaluate;
mod library;
mod macros;
mod types;
mod value;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use ::cel::parser::Expression;

use crate::field::FieldError;

pub use library::{AUTHORIZER, go_duration, is_format};
pub use types::{ObjectType, Type, UNBOUNDED};
pub use value::{Key, List, ListType, Object, Value};

/// Most bytes of an expression (upstream's `CELSelectorExpressionMaxLength`): the parser's memory grows faster than what it reads.
pub const LONGEST: usize = 10 << 10;
/// Most cost of one evaluation (upstream's `PerCallLimit`).
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// Most cost of all expressions of one object or one policy (upstream's `RuntimeCELCostBudget`).
pub const RUNTIME_BUDGET: u64 = 10_000_000;
/// Most estimated cost of one rule of a schema.
pub const ESTIMATED_RULE_LIMIT: u64 = 10_000_000;
/// Most estimated cost of all rules of a schema.
pub const ESTIMATED_SCHEMA_LIMIT: u64 = 100_000_000;

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// It failed, in upstream's words (`no such key: x`).
    #[error("{0}")]
    Failed(String),
    /// It costs more than it may.
    #[error("operation cancelled: actual cost limit exceeded")]
    OverBudget,
}

/// What is left to spend.
#[derive(Debug)]
pub struct Budget(Cell<u64>);

impl Budget {
    /// A budget of `cost`.
    pub fn new(cost: u64) -> Self {
        Self(Cell::new(cost))
    }

    /// What is left.
    pub fn left(&self) -> u64 {
        self.0.get()
    }

    /// Spends.
    ///
    /// # Errors
    /// There is not so much left; nothing is then.
    pub fn spend(&self, cost: u64) -> Result<(), Error> {
        let left = self.0.get().checked_sub(cost);
        self.0.set(left.unwrap_or(0));
        left.map(|_| ()).ok_or(Error::OverBudget)
    }
}

/// Where an evaluation finds the values of variables.
pub trait Variables {
    /// The value of a variable; `None` if it has none.
    ///
    /// # Errors
    /// It could not be computed.
    fn get(&self, name: &str, budget: &Budget) -> Result<Option<Value>, Error>;
}

impl Variables for BTreeMap<&str, Value> {
    fn get(&self, name: &str, _: &Budget) -> Result<Option<Value>, Error> {
        Ok(BTreeMap::get(self, name).cloned())
    }
}

/// The variables expressions may use.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, Type>,
    objects: bool,
}

/// An expression that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The message is upstream's, with the line and a mark below it.
    #[error("{0}")]
    Invalid(String),
    /// It is longer than [`LONGEST`], and nobody read it.
    #[error("Too long: may not be more than {} bytes", LONGEST)]
    TooLong,
}

impl CompileError {
    /// The message without its beginning: what was found, and where.
    pub fn found(&self) -> String {
        let message = self.to_string();
        message.strip_prefix("compilation failed: ").map_or_else(|| message.clone(), str::to_owned)
    }

    /// What validation says of the field that has the expression; `value` is what it shows.
    pub fn of_field(&self, field: impl Into<String>, value: impl Into<serde_json::Value>) -> FieldError {
        match self {
            Self::Invalid(message) => FieldError::invalid(field, value, message.as_str()),
            Self::TooLong => FieldError::too_long(field, LONGEST),
        }
    }
}

static PARSER: LazyLock<::cel::Env> = LazyLock::new(macros::environment);

impl Environment {
    /// Without variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a variable.
    #[must_use]
    pub fn with(mut self, name: &str, ty: Type) -> Self {
        self.variables.insert(name.to_owned(), ty);
        self
    }

    /// Takes a variable away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    /// Lets expressions make objects: `Object{…}`, `Object.spec{…}`, `JSONPatch{…}`.
    #[must_use]
    pub fn with_objects(mut self) -> Self {
        self.objects = true;
        self
    }

    /// Reads and checks an expression.
    ///
    /// # Errors
    /// It is longer than [`LONGEST`], is no expression, uses what is not declared, or its types do not fit.
    pub fn compile(&self, source: &str) -> Result<Program, CompileError> {
        if source.len() > LONGEST {
            return Err(CompileError::TooLong);
        }
        depth::reading(source, || {
            let parsed = PARSER.compile(source).map_err(|errors| check::syntax_error(source, &errors))?;
            let checked = check::check(&self.variables, self.objects, source, &parsed)?;
            Ok(Program { expression: Arc::new(parsed.expression().clone()), result: checked.ty, estimated_cost: checked.cost })
        })
    }

    /// Like [`Environment::compile`], of an expression whose value has to be of one of these types.
    ///
    /// # Errors
    /// As there; or its value is of another type.
    pub fn compile_as(&self, source: &str, wanted: &[Type]) -> Result<Program, CompileError> {
        let program = self.compile(source)?;
        if program.result.is_dyn() || wanted.iter().any(|wanted| types::join(wanted, &program.result).is_some_and(|ty| ty != Type::Dyn)) {
            return Ok(program);
        }
        let names: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        Err(CompileError::Invalid(match &names[..] {
            [one] => format!("must evaluate to {one}"),
            many => format!("must evaluate to one of {many:?}"),
        }))
    }
}

/// A checked expression.
#[derive(Debug, Clone)]
pub struct Program {
    expression: Arc<Expression>,
    result: Type,
    estimated_cost: u64,
}

impl Program {
    /// The type of its value.
    pub fn result(&self) -> &Type {
        &self.result
    }

    /// The most it may cost, from the bounds of its variables' types.
    pub fn estimated_cost(&self) -> u64 {
        self.estimated_cost
    }

    /// Whether it uses a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.expression.references().has_variable(variable)
    }

    /// Its value.
    ///
    /// # Errors
    /// It has none, or costs more than the budget, or more than one evaluation may.
    pub fn evaluate(&self, variables: &dyn Variables, budget: &Budget) -> Result<Value, Error> {
        let call = Budget::new(PER_CALL_LIMIT.min(budget.left()));
        let before = call.left();
        let value = depth::evaluating(|| evaluate::evaluate(&self.expression, variables, &call));
        budget.spend(before - call.left())?;
        value
    }
}

#[cfg(test)]
mod tests;

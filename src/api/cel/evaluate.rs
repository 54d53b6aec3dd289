//! Evaluates a checked expression, spending its budget step by step.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use super::macros::MAP_INSERT;
use super::value::{Key, Value, concatenate};
use super::{Budget, Error, Variables, library};

struct Evaluator<'a> {
    variables: &'a dyn Variables,
    budget: &'a Budget,
    scopes: Vec<(&'a str, Value)>,
}

fn failed<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::Failed(message.into()))
}

/// The value of an expression.
pub(super) fn evaluate(expression: &IdedExpr, variables: &dyn Variables, budget: &Budget) -> Result<Value, Error> {
    Evaluator { variables, budget, scopes: Vec::new() }.expr(expression)
}

impl<'a> Evaluator<'a> {
    fn expr(&mut self, expr: &'a IdedExpr) -> Result<Value, Error> {
        match &expr.expr {
            Expr::Literal(literal) => Ok(literal_value(literal)),
            Expr::Ident(name) => {
                self.budget.spend(1)?;
                self.variable(name)
            }
            Expr::Select(select) => {
                self.budget.spend(1)?;
                let operand = self.expr(&select.operand)?;
                if select.test {
                    return Ok(Value::Bool(self.present(&operand, &select.field)?));
                }
                self.select(operand, &select.field)
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => {
                self.budget.spend(10)?;
                let mut items = Vec::with_capacity(list.elements.len());
                for (index, element) in list.elements.iter().enumerate() {
                    match self.expr(element)? {
                        Value::Optional(inner) if list.optional_indices.contains(&index) => {
                            items.extend(inner.map(Arc::unwrap_or_clone));
                        }
                        value => items.push(value),
                    }
                }
                Ok(items.into())
            }
            Expr::Map(map) => self.map(&map.entries),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Struct(made) => self.object(&made.entries),
            Expr::Unspecified => failed("no such overload"),
        }
    }

    fn variable(&mut self, name: &str) -> Result<Value, Error> {
        if let Some((_, value)) = self.scopes.iter().rev().find(|(own, _)| *own == name) {
            return Ok(value.clone());
        }
        if let Some(value) = self.variables.get(name, self.budget)? {
            return Ok(value);
        }
        match library::type_named(name) {
            Some(_) => Ok(Value::Type(name.into())),
            None => failed(format!("no such attribute(s): {name}")),
        }
    }

    /// A field, or `None`.
    fn look_up(&self, operand: &Value, field: &str) -> Result<Option<Value>, Error> {
        match operand {
            Value::Map(map) => Ok(map.get(&Key::String(field.into())).cloned()),
            Value::Object(object) => object.field(field, self.budget),
            _ => failed(format!("no such key: {field}")),
        }
    }

    fn present(&self, operand: &Value, field: &str) -> Result<bool, Error> {
        match operand {
            Value::Optional(None) => Ok(false),
            Value::Optional(Some(inner)) => self.present(inner, field),
            operand => Ok(self.look_up(operand, field)?.is_some()),
        }
    }

    fn select(&self, operand: Value, field: &str) -> Result<Value, Error> {
        match operand {
            Value::Optional(None) => Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => self.optional_select((*inner).clone(), field),
            operand => match self.look_up(&operand, field)? {
                Some(value) => Ok(value),
                None => failed(format!("no such key: {field}")),
            },
        }
    }

    fn optional_select(&self, operand: Value, field: &str) -> Result<Value, Error> {
        match operand {
            Value::Optional(None) => Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => self.optional_select((*inner).clone(), field),
            operand => Ok(Value::Optional(self.look_up(&operand, field)?.map(Arc::new))),
        }
    }

    fn call(&mut self, call: &'a CallExpr) -> Result<Value, Error> {
        match (call.func_name.as_str(), &call.args[..]) {
            (operators::LOGICAL_AND, [left, right]) => return self.logical(left, right, false),
            (operators::LOGICAL_OR, [left, right]) => return self.logical(left, right, true),
            (operators::CONDITIONAL, [condition, one, other]) => {
                return match self.expr(condition)? {
                    Value::Bool(true) => self.expr(one),
                    Value::Bool(false) => self.expr(other),
                    _ => failed("no such overload"),
                };
            }
            (operators::NOT_STRICTLY_FALSE, [argument]) => {
                return match self.expr(argument) {
                    Ok(value) => Ok(Value::Bool(value != Value::Bool(false))),
                    Err(Error::OverBudget) => Err(Error::OverBudget),
                    Err(_) => Ok(Value::Bool(true)),
                };
            }
            (operators::OPT_SELECT, [operand, IdedExpr { expr: Expr::Literal(LiteralValue::String(field)), .. }]) => {
                self.budget.spend(1)?;
                let operand = self.expr(operand)?;
                return self.optional_select(operand, field.inner());
            }
            (operators::ADD, [IdedExpr { expr: Expr::Ident(name), .. }, more]) if name == super::macros::RESULT => return self.grow(more),
            (MAP_INSERT, [_, key, value]) => return self.insert(key, value),
            _ => {}
        }
        let declared = |root: &str| self.scopes.iter().any(|(own, _)| *own == root);
        let qualified = call.target.as_deref().and_then(|target| library::qualified(target, &call.func_name, declared));
        let member = call.target.is_some() && qualified.is_none();
        let name = qualified.as_deref().unwrap_or(&call.func_name);
        let target = if member { call.target.as_deref() } else { None };
        let mut arguments = Vec::with_capacity(call.args.len() + 1);
        for argument in target.into_iter().chain(&call.args) {
            arguments.push(self.expr(argument)?);
        }
        let fits = |overload: &&library::Overload| {
            overload.parameters.len() == arguments.len()
                && overload.parameters.iter().zip(&arguments).all(|(parameter, argument)| parameter.admits(argument))
        };
        let Some(overload) = library::overloads(name, member).iter().find(fits) else {
            return failed("no such overload");
        };
        self.budget.spend(overload.cost.of(arguments.iter().map(Value::size)))?;
        if let (true, Some(Value::Object(object))) = (member, arguments.first()) {
            return object.call(name, &arguments[1..]);
        }
        (overload.run)(&arguments).map_err(Error::Failed)
    }

    /// `&&` and `||`: what decides on one side decides, whatever is wrong with the other.
    fn logical(&mut self, left: &'a IdedExpr, right: &'a IdedExpr, deciding: bool) -> Result<Value, Error> {
        let mut wrong = None;
        for side in [left, right] {
            match self.expr(side) {
                Ok(Value::Bool(value)) if value == deciding => return Ok(Value::Bool(deciding)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => wrong = wrong.or(Some(Error::Failed("no such overload".to_owned()))),
                Err(Error::OverBudget) => return Err(Error::OverBudget),
                Err(error) => wrong = wrong.or(Some(error)),
            }
        }
        wrong.map_or(Ok(Value::Bool(!deciding)), Err)
    }

    fn accumulator(&mut self) -> Option<&mut Value> {
        self.scopes.iter_mut().rev().find(|(name, _)| *name == super::macros::RESULT).map(|(_, value)| value)
    }

    /// `@result + more`, in place: the accumulator is nobody else's.
    fn grow(&mut self, more: &'a IdedExpr) -> Result<Value, Error> {
        self.budget.spend(1)?;
        let more = self.expr(more)?;
        let Some(own) = self.accumulator() else { return failed("no such overload") };
        match (std::mem::replace(own, Value::Null), more) {
            (Value::List(own), Value::List(more)) => Ok(Value::List(concatenate(own, &more))),
            (Value::Int(count), Value::Int(more)) => Ok(Value::Int(count.saturating_add(more))),
            _ => failed("no such overload"),
        }
    }

    fn insert(&mut self, key: &'a IdedExpr, value: &'a IdedExpr) -> Result<Value, Error> {
        let Some(key) = self.expr(key)?.key() else { return failed("unsupported key type") };
        let value = self.expr(value)?;
        self.budget.spend(1)?;
        let Some(own) = self.accumulator() else { return failed("no such overload") };
        let Value::Map(mut map) = std::mem::replace(own, Value::Null) else { return failed("no such overload") };
        Arc::make_mut(&mut map).insert(key, value);
        Ok(Value::Map(map))
    }

    fn map(&mut self, entries: &'a [::cel::common::ast::IdedEntryExpr]) -> Result<Value, Error> {
        self.budget.spend(30)?;
        let mut map = BTreeMap::new();
        for entry in entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
            let Some(key) = self.expr(&entry.key)?.key() else { return failed("unsupported key type") };
            let value = match self.expr(&entry.value)? {
                Value::Optional(None) if entry.optional => continue,
                Value::Optional(Some(inner)) if entry.optional => (*inner).clone(),
                value => value,
            };
            if map.insert(key, value).is_some() {
                return failed("Failed with repeated key");
            }
        }
        Ok(Value::Map(Arc::new(map)))
    }

    /// An object that is made: a map of its fields, but those that are nothing.
    fn object(&mut self, entries: &'a [::cel::common::ast::IdedEntryExpr]) -> Result<Value, Error> {
        self.budget.spend(40)?;
        let mut fields = BTreeMap::new();
        for entry in entries {
            let EntryExpr::StructField(field) = &entry.expr else { continue };
            let value = match self.expr(&field.value)? {
                Value::Optional(None) if field.optional => continue,
                Value::Optional(Some(inner)) if field.optional => (*inner).clone(),
                value => value,
            };
            fields.insert(Key::String(field.field.as_str().into()), value);
        }
        Ok(Value::Map(Arc::new(fields)))
    }

    fn comprehension(&mut self, comprehension: &'a ComprehensionExpr) -> Result<Value, Error> {
        let range = self.expr(&comprehension.iter_range)?;
        let two = comprehension.iter_var2.as_deref();
        let pairs: Vec<(Value, Option<Value>)> = match &range {
            Value::List(list) if two.is_some() => {
                list.items.iter().enumerate().map(|(index, item)| (Value::Int(index as i64), Some(item.clone()))).collect()
            }
            Value::List(list) => list.items.iter().map(|item| (item.clone(), None)).collect(),
            Value::Map(map) => map.iter().map(|(key, value)| (Value::from(key.clone()), two.map(|_| value.clone()))).collect(),
            _ => return failed("no such overload"),
        };
        let init = self.expr(&comprehension.accu_init)?;
        let depth = self.scopes.len();
        self.scopes.push((&comprehension.accu_var, init));
        let result = self.rounds(comprehension, pairs, depth).and_then(|()| self.expr(&comprehension.result));
        self.scopes.truncate(depth);
        result
    }

    fn rounds(&mut self, comprehension: &'a ComprehensionExpr, pairs: Vec<(Value, Option<Value>)>, depth: usize) -> Result<(), Error> {
        let mut last = Ok(());
        for (first, second) in pairs {
            self.scopes.push((&comprehension.iter_var, first));
            if let (Some(name), Some(second)) = (comprehension.iter_var2.as_deref(), second) {
                self.scopes.push((name, second));
            }
            // What went wrong may still be decided by a later round.
            let goes_on = match &last {
                Ok(()) => self.expr(&comprehension.loop_cond)? != Value::Bool(false),
                Err(_) => true,
            };
            if !goes_on {
                self.scopes.truncate(depth + 1);
                break;
            }
            let step = self.expr(&comprehension.loop_step);
            self.scopes.truncate(depth + 1);
            match step {
                Ok(value) => {
                    let decided = matches!((&last, &value), (Err(_), Value::Bool(_)));
                    let decides = matches!(
                        (&comprehension.loop_step.expr, &value),
                        (Expr::Call(call), Value::Bool(value)) if (call.func_name == operators::LOGICAL_OR) == *value
                    );
                    self.scopes[depth].1 = value;
                    if decided && decides {
                        last = Ok(());
                    }
                }
                Err(Error::OverBudget) => return Err(Error::OverBudget),
                Err(error) if matches!(self.scopes[depth].1, Value::Bool(_)) => last = last.and(Err(error)),
                Err(error) => return Err(error),
            }
        }
        last
    }
}

fn literal_value(literal: &LiteralValue) -> Value {
    match literal {
        LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
        LiteralValue::Bytes(bytes) => Value::Bytes(bytes.inner().into()),
        LiteralValue::Double(value) => Value::Double(*value.inner()),
        LiteralValue::Int(value) => Value::Int(*value.inner()),
        LiteralValue::Null => Value::Null,
        LiteralValue::String(text) => Value::String(text.inner().into()),
        LiteralValue::UInt(value) => Value::Uint(*value.inner()),
    }
}

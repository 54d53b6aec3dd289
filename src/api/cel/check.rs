//! Checks the types of an expression, and estimates what it may cost from the bounds of its variables.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::cel::Program as Parsed;
use ::cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use ::cel::parser::ParseErrors;

use super::CompileError;
use super::library::{self, Overload};
use super::types::{Bindings, Type, UNBOUNDED, join, substitute, unify};

/// Deeper expressions are refused.
const DEPTH: usize = 250;
/// Errors that are told, as upstream: each shows its line.
const MOST_TOLD: usize = 100;

/// What is known of an expression.
pub(super) struct Checked {
    pub(super) ty: Type,
    pub(super) cost: u64,
}

struct Checker<'a> {
    variables: &'a BTreeMap<String, Type>,
    /// Whether objects may be made.
    objects: bool,
    scopes: Vec<(String, Type)>,
    parsed: &'a Parsed,
    errors: Vec<(u32, String)>,
    depth: usize,
    /// Arguments of `format` may be of many types.
    mixed: bool,
}

/// Type and cost of an expression, or what is wrong with it.
pub(super) fn check(variables: &BTreeMap<String, Type>, objects: bool, source: &str, parsed: &Parsed) -> Result<Checked, CompileError> {
    let mut checker = Checker { variables, objects, scopes: Vec::new(), parsed, errors: Vec::new(), depth: 0, mixed: false };
    let checked = checker.expr(parsed.expression());
    if checker.errors.is_empty() {
        return Ok(checked);
    }
    checker.errors.sort_by_key(|(at, _)| *at);
    Err(failed(checker.errors.iter().map(|(at, message)| located(source, *at as usize, message))))
}

/// What the parser says, in the checker's form.
pub(super) fn syntax_error(source: &str, errors: &ParseErrors) -> CompileError {
    failed(errors.errors.iter().map(|error| {
        let (line, column) = (usize::try_from(error.pos.0).unwrap_or(1).max(1), usize::try_from(error.pos.1).unwrap_or(1).max(1));
        marked(source, line, column, &error.msg)
    }))
}

fn failed(texts: impl ExactSizeIterator<Item = String>) -> CompileError {
    let more = texts.len().saturating_sub(MOST_TOLD);
    let mut told: Vec<String> = texts.take(MOST_TOLD).collect();
    if more > 0 {
        told.push(format!("{more} more errors were truncated"));
    }
    CompileError::Invalid(format!("compilation failed: {}", told.join("\n")))
}

fn located(source: &str, at: usize, message: &str) -> String {
    let before: String = source.chars().take(at).collect();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|ch| *ch != '\n').count() + 1;
    marked(source, line, column, message)
}

fn marked(source: &str, line: usize, column: usize, message: &str) -> String {
    let text = source.lines().nth(line - 1).unwrap_or_default();
    format!("ERROR: <input>:{line}:{column}: {message}\n | {text}\n | {}^", ".".repeat(column - 1))
}

fn known(ty: Type, cost: u64) -> Checked {
    Checked { ty, cost }
}

impl Checker<'_> {
    fn error(&mut self, expr: &IdedExpr, message: String) -> Checked {
        let at = self.parsed.source_info().offset_for(expr.id).map_or(0, |(start, _)| start);
        self.errors.push((at, message));
        known(Type::Dyn, 0)
    }

    fn variable(&self, name: &str) -> Option<Type> {
        let scoped = self.scopes.iter().rev().find(|(own, _)| own == name).map(|(_, ty)| ty.clone());
        scoped.or_else(|| self.variables.get(name).cloned()).or_else(|| library::type_named(name))
    }

    fn expr(&mut self, expr: &IdedExpr) -> Checked {
        if self.depth == DEPTH {
            return self.error(expr, "expression is nested too deeply".to_owned());
        }
        self.depth += 1;
        let checked = self.expr_inside(expr);
        self.depth -= 1;
        checked
    }

    fn expr_inside(&mut self, expr: &IdedExpr) -> Checked {
        match &expr.expr {
            Expr::Unspecified => known(Type::Dyn, 0),
            Expr::Literal(literal) => known(literal_type(literal), 0),
            Expr::Ident(name) => match self.variable(name) {
                Some(ty) => known(ty, 1),
                None => self.error(expr, format!("undeclared reference to '{name}' (in container '')")),
            },
            Expr::Select(select) => {
                let operand = self.expr(&select.operand);
                let field = self.field(expr, &operand.ty, &select.field);
                known(if select.test { Type::Bool } else { field }, operand.cost.saturating_add(1))
            }
            Expr::Call(call) => self.call(expr, call),
            Expr::List(list) => {
                let mut element = Type::Unbound;
                let mut cost = 10_u64;
                for (index, item) in list.elements.iter().enumerate() {
                    let item_type = self.expr(item);
                    cost = cost.saturating_add(item_type.cost);
                    let ty = match item_type.ty {
                        Type::Optional(inner) if list.optional_indices.contains(&index) => (*inner).clone(),
                        other => other,
                    };
                    element = self.same(item, &element, ty);
                }
                known(Type::List(Arc::new(element), list.elements.len() as u64), cost)
            }
            Expr::Map(map) => self.map(&map.entries),
            Expr::Struct(value)
                if self.objects && (value.type_name == "JSONPatch" || value.type_name.split('.').next() == Some("Object")) =>
            {
                let mut cost = 40_u64;
                for entry in &value.entries {
                    if let EntryExpr::StructField(field) = &entry.expr {
                        cost = cost.saturating_add(self.expr(&field.value).cost);
                    }
                }
                known(Type::Dyn, cost)
            }
            Expr::Struct(value) => self.error(expr, format!("undeclared reference to '{}' (in container '')", value.type_name)),
            Expr::Comprehension(comprehension) => self.comprehension(expr, comprehension),
        }
    }

    /// Elements of a list or map are of one type.
    fn same(&mut self, at: &IdedExpr, so_far: &Type, ty: Type) -> Type {
        match join(so_far, &ty) {
            Some(joined) => joined,
            None if self.mixed => Type::Dyn,
            None => self.error(at, format!("expected type '{so_far}' but found '{ty}'")).ty,
        }
    }

    fn map(&mut self, entries: &[::cel::common::ast::IdedEntryExpr]) -> Checked {
        let (mut key, mut value, mut cost) = (Type::Unbound, Type::Unbound, 30_u64);
        for entry in entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
            let (own_key, own_value) = (self.expr(&entry.key), self.expr(&entry.value));
            cost = cost.saturating_add(own_key.cost).saturating_add(own_value.cost);
            key = self.same(&entry.key, &key, own_key.ty);
            let own = match own_value.ty {
                Type::Optional(inner) if entry.optional => (*inner).clone(),
                other => other,
            };
            value = self.same(&entry.value, &value, own);
        }
        known(Type::Map(Arc::new(key), Arc::new(value), entries.len() as u64), cost)
    }

    fn field(&mut self, expr: &IdedExpr, operand: &Type, field: &str) -> Type {
        match operand {
            Type::Dyn | Type::Unbound => Type::Dyn,
            Type::Map(_, value, _) => (**value).clone(),
            Type::Optional(inner) => match self.field(expr, inner, field) {
                optional @ Type::Optional(_) => optional,
                other => Type::Optional(Arc::new(other)),
            },
            Type::Object(object) => match object.fields.get(field) {
                Some(ty) => ty.clone(),
                None => self.error(expr, format!("undefined field '{field}'")).ty,
            },
            Type::Opaque("kubernetes.authorization.Authorizer") if field == "requestResource" => {
                Type::Opaque("kubernetes.authorization.ResourceCheck")
            }
            other => self.error(expr, format!("type '{other}' does not support field selection")).ty,
        }
    }

    fn call(&mut self, expr: &IdedExpr, call: &CallExpr) -> Checked {
        let name = call.func_name.as_str();
        if name == operators::OPT_SELECT
            && let [operand, IdedExpr { expr: Expr::Literal(LiteralValue::String(field)), .. }] = &call.args[..]
        {
            let operand = self.expr(operand);
            return match self.field(expr, &operand.ty, field.inner()) {
                optional @ Type::Optional(_) => known(optional, operand.cost.saturating_add(1)),
                other => known(Type::Optional(Arc::new(other)), operand.cost.saturating_add(1)),
            };
        }
        let qualified = call.target.as_deref().and_then(|target| library::qualified(target, name, |root| self.variable(root).is_some()));
        let member = call.target.is_some() && qualified.is_none();
        let name = qualified.as_deref().unwrap_or(name);
        let target = if member { call.target.as_deref() } else { None };
        let mixed = std::mem::replace(&mut self.mixed, member && name == "format");
        let arguments: Vec<Checked> = target.into_iter().chain(&call.args).map(|argument| self.expr(argument)).collect();
        self.mixed = mixed;
        let overloads = library::overloads(name, member);
        if overloads.is_empty() {
            return self.error(expr, format!("undeclared reference to '{name}' (in container '')"));
        }
        let types: Vec<&Type> = arguments.iter().map(|argument| &argument.ty).collect();
        let mut result: Option<Type> = None;
        let mut own_cost = 0;
        for overload in overloads {
            if let Some(ty) = fits(overload, &types) {
                own_cost = own_cost.max(overload.cost.of(types.iter().map(|ty| ty.size())));
                result = Some(match result {
                    // What fits several ways is known when it runs.
                    Some(other) => join(&other, &ty).unwrap_or(Type::Dyn),
                    None => ty,
                });
            }
        }
        let Some(ty) = result else {
            let texts: Vec<String> = types.iter().map(ToString::to_string).collect();
            let shown = match (member, texts.split_first()) {
                (true, Some((first, rest))) => format!("{first}.({})", rest.join(", ")),
                _ => format!("({})", texts.join(", ")),
            };
            return self.error(expr, format!("found no matching overload for '{name}' applied to '{shown}'"));
        };
        let cost = match (name, &arguments[..]) {
            (operators::CONDITIONAL, [condition, one, other]) => condition.cost.saturating_add(one.cost.max(other.cost)),
            _ => arguments.iter().fold(own_cost, |sum, argument| sum.saturating_add(argument.cost)),
        };
        let size = result_size(name, &arguments);
        known(if let Some(size) = size { ty.sized(size) } else { ty }, cost)
    }

    fn comprehension(&mut self, expr: &IdedExpr, comprehension: &ComprehensionExpr) -> Checked {
        let range = self.expr(&comprehension.iter_range);
        let two = comprehension.iter_var2.is_some();
        let (first, second) = match &range.ty {
            Type::List(element, _) if two => (Type::Int, (**element).clone()),
            Type::List(element, _) => ((**element).clone(), Type::Dyn),
            Type::Map(key, value, _) => ((**key).clone(), (**value).clone()),
            ty if ty.is_dyn() => (Type::Dyn, Type::Dyn),
            other => {
                let message = format!("expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)");
                self.error(expr, message);
                (Type::Dyn, Type::Dyn)
            }
        };
        let size = range.ty.size();
        let init = self.expr(&comprehension.accu_init);
        let depth = self.scopes.len();
        self.scopes.push((comprehension.accu_var.clone(), init.ty.clone()));
        self.scopes.push((comprehension.iter_var.clone(), first));
        if let Some(name) = &comprehension.iter_var2 {
            self.scopes.push((name.clone(), second));
        }
        let condition = self.expr(&comprehension.loop_cond);
        let step = self.expr(&comprehension.loop_step);
        self.scopes.truncate(depth);
        let accumulated = join(&init.ty, &step.ty).unwrap_or(step.ty).sized(size);
        self.scopes.push((comprehension.accu_var.clone(), accumulated));
        let result = self.expr(&comprehension.result);
        self.scopes.truncate(depth);
        let each = condition.cost.saturating_add(step.cost);
        let loops = size.saturating_mul(each.max(1));
        let cost = [range.cost, init.cost, loops, result.cost].into_iter().fold(0, u64::saturating_add);
        known(result.ty, cost)
    }
}

fn literal_type(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(bytes) => Type::Bytes(bytes.inner().len() as u64),
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(text) => Type::String(text.inner().len() as u64),
        LiteralValue::UInt(_) => Type::Uint,
    }
}

/// What an overload gives for arguments of these types; `None` where it does not take them.
fn fits(overload: &Overload, arguments: &[&Type]) -> Option<Type> {
    if overload.parameters.len() != arguments.len() {
        return None;
    }
    let mut bound = Bindings::new();
    let all = overload.parameters.iter().zip(arguments).all(|(parameter, argument)| unify(parameter, argument, &mut bound));
    all.then(|| substitute(&overload.result, &bound))
}

/// How large a result may be, as far as it depends on the arguments; `None` where the type says.
fn result_size(name: &str, arguments: &[Checked]) -> Option<u64> {
    let sum = || arguments.iter().fold(0_u64, |sum, argument| sum.saturating_add(argument.ty.size()));
    match name {
        operators::INDEX | operators::OPT_INDEX | "orValue" | "value" | "dyn" => None,
        operators::CONDITIONAL => None,
        "replace" => Some(UNBOUNDED).filter(|_| arguments.first().is_none_or(|first| first.ty.size() == UNBOUNDED)).or_else(|| Some(sum())),
        _ => Some(sum()),
    }
}

//! Macros beyond the standard ones: comprehensions with two variables (`m.all(k, v, …)`, `transformList`, `transformMap`).

use ::cel::Env;
use ::cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, operators};
use ::cel::parser::{Macro, MacroExprHelper, ParseError};

/// The accumulator's name, which nobody can write.
pub(super) const RESULT: &str = "@result";
/// `map.@mapInsert(key, value)`.
pub(super) const MAP_INSERT: &str = "@mapInsert";

/// The crate's environment, of which we use the parser.
pub(super) fn environment() -> Env {
    let mut environment = Env::stdlib();
    let rows: [(&str, usize); 7] =
        [("all", 3), ("exists", 3), ("existsOne", 3), ("transformList", 3), ("transformList", 4), ("transformMap", 3), ("transformMap", 4)];
    for (name, count) in rows {
        let expander = move |helper: &mut MacroExprHelper<'_>, target: &mut Option<IdedExpr>, args: &mut Vec<IdedExpr>| {
            expand(name, helper, target, args).map(Some)
        };
        // Each is there once, so that none can be refused.
        let _ = environment.add_macro(Macro::receiver(name, count, expander));
    }
    environment
}

struct Build<'a, 'b>(&'a mut MacroExprHelper<'b>);

impl Build<'_, '_> {
    fn node(&mut self, expr: Expr) -> IdedExpr {
        self.0.next_expr(expr)
    }

    fn result(&mut self) -> IdedExpr {
        self.node(Expr::Ident(RESULT.to_owned()))
    }

    fn bool(&mut self, value: bool) -> IdedExpr {
        self.node(Expr::Literal(LiteralValue::Boolean(value.into())))
    }

    fn int(&mut self, value: i64) -> IdedExpr {
        self.node(Expr::Literal(LiteralValue::Int(value.into())))
    }

    fn call(&mut self, name: &str, args: Vec<IdedExpr>) -> IdedExpr {
        self.node(Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args }))
    }
}

fn variable(helper: &MacroExprHelper<'_>, expr: Option<IdedExpr>) -> Result<String, ParseError> {
    match expr {
        Some(IdedExpr { expr: Expr::Ident(name), .. }) => Ok(name),
        other => Err(helper.new_error(other.map_or(0, |expr| expr.id), "argument must be a simple name")),
    }
}

fn expand(
    name: &str,
    helper: &mut MacroExprHelper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
) -> Result<IdedExpr, ParseError> {
    let mut args = std::mem::take(args).into_iter();
    let (iter_var, iter_var2) = (variable(helper, args.next())?, variable(helper, args.next())?);
    let (first, second) = (args.next().unwrap_or_default(), args.next());
    let mut build = Build(helper);
    let result = build.result();
    let always = build.bool(true);
    let (accu_init, loop_cond, loop_step, result) = match name {
        "all" | "exists" => {
            let all = name == "all";
            let init = build.bool(all);
            let mut going = build.result();
            if !all {
                going = build.call(operators::LOGICAL_NOT, vec![going]);
            }
            let cond = build.call(operators::NOT_STRICTLY_FALSE, vec![going]);
            let so_far = build.result();
            let operator = if all { operators::LOGICAL_AND } else { operators::LOGICAL_OR };
            (init, cond, build.call(operator, vec![so_far, first]), result)
        }
        "existsOne" => {
            let (init, so_far, one, other_one) = (build.int(0), build.result(), build.int(1), build.int(1));
            let more = build.call(operators::ADD, vec![so_far, one]);
            let same = build.result();
            let step = build.call(operators::CONDITIONAL, vec![first, more, same]);
            let result = build.call(operators::EQUALS, vec![result, other_one]);
            (init, always, step, result)
        }
        _ => {
            let (condition, value) = match second {
                Some(value) => (Some(first), value),
                None => (None, first),
            };
            let so_far = build.result();
            let (init, grown) = if name == "transformList" {
                let item = build.node(Expr::List(ListExpr::new(vec![value])));
                (build.node(Expr::List(ListExpr::new(Vec::new()))), build.call(operators::ADD, vec![so_far, item]))
            } else {
                let key = build.node(Expr::Ident(iter_var.clone()));
                (build.node(Expr::Map(MapExpr { entries: Vec::new() })), build.call(MAP_INSERT, vec![so_far, key, value]))
            };
            let step = match condition {
                None => grown,
                Some(condition) => {
                    let same = build.result();
                    build.call(operators::CONDITIONAL, vec![condition, grown, same])
                }
            };
            (init, always, step, result)
        }
    };
    Ok(build.node(Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: target.take().unwrap_or_default(),
        iter_var,
        iter_var2: Some(iter_var2),
        accu_var: RESULT.to_owned(),
        accu_init,
        loop_cond,
        loop_step,
        result,
    }))))
}

//! Puts the bodies of called device functions in the place of their calls, so that a kernel is one body.
//!
//! Arguments and results are `.param` variables of the caller; the callee's parameters become these variables.

use super::PtxError;
use super::module::{Function, Instruction, Module, Operand};
use std::collections::HashMap;

/// How deep calls may nest; recursion ends here.
const DEPTH: usize = 32;

/// The kernel `name` without calls.
///
/// # Errors
/// A call of an unknown function, through a register, with arguments that do not fit, or nested too deep.
pub fn without_calls(module: &Module, function: &Function) -> Result<Function, PtxError> {
    let mut out = Function { body: Vec::new(), labels: HashMap::new(), ..function.clone() };
    let mut copies = 0;
    expand(module, function, &mut out, &Names::default(), &mut copies, 0)?;
    Ok(out)
}

/// How the names of the function being copied read in the result.
#[derive(Default)]
struct Names {
    first_register: usize,
    /// Appended to labels and variables of an inlined body.
    suffix: String,
    variables: HashMap<String, String>,
    /// Where `ret` goes; a kernel's own `ret` stays.
    end: Option<String>,
}

fn expand(
    module: &Module,
    from: &Function,
    out: &mut Function,
    names: &Names,
    copies: &mut usize,
    depth: usize,
) -> Result<(), PtxError> {
    let mut labels: HashMap<usize, Vec<&String>> = HashMap::new();
    for (label, &at) in &from.labels {
        labels.entry(at).or_default().push(label);
    }
    for (label, targets) in &from.targets {
        let targets = targets.iter().map(|t| format!("{t}{}", names.suffix)).collect();
        out.targets.insert(format!("{label}{}", names.suffix), targets);
    }
    for at in 0..=from.body.len() {
        for label in labels.get(&at).into_iter().flatten() {
            out.labels.insert(format!("{label}{}", names.suffix), out.body.len());
        }
        let Some(instruction) = from.body.get(at) else { break };
        let copy = renamed(instruction, from, names);
        let base = copy.opcode.split('.').next().unwrap_or_default();
        if base == "call" {
            call(module, &copy, out, copies, depth)?;
        } else if base == "ret" && names.end.is_some() {
            let target = names.end.clone().unwrap_or_default();
            out.body.push(Instruction { opcode: "bra".into(), operands: vec![Operand::Name(target, 0)], ..copy });
        } else {
            out.body.push(copy);
        }
    }
    Ok(())
}

fn call(
    module: &Module,
    call: &Instruction,
    out: &mut Function,
    copies: &mut usize,
    depth: usize,
) -> Result<(), PtxError> {
    let fail = |what: String| Err(PtxError::new(call.line, what));
    if call.guard.is_some() || depth >= DEPTH {
        return fail("a call that is guarded or nested too deep (recursion?) is not supported".into());
    }
    let mut operands = call.operands.iter().peekable();
    let mut given: Vec<&Operand> = Vec::new();
    if let Some(Operand::Arguments(results)) = operands.peek() {
        given.extend(results);
        operands.next();
    }
    let Some(Operand::Name(name, 0)) = operands.next() else { return fail("only direct calls are supported".into()) };
    if let Some(Operand::Arguments(arguments)) = operands.next() {
        given.extend(arguments);
    }
    // A name of the callee was renamed like any other of the caller's; functions have no suffix.
    let name = name.split('#').next().unwrap_or_default();
    if name == "__assertfail" {
        // An assertion that does not hold ends the kernel.
        out.body.push(Instruction { line: call.line, guard: None, opcode: "trap".into(), operands: Vec::new() });
        return Ok(());
    }
    let Some(callee) = module.functions.get(name) else { return fail(format!("unknown function {name}")) };
    if callee.parameters.len() != given.len() {
        return fail(format!("{name} has {} parameters, the call {}", callee.parameters.len(), given.len()));
    }
    *copies += 1;
    let suffix = format!("#{copies}");
    let mut variables = HashMap::new();
    for (parameter, argument) in callee.parameters.iter().zip(given) {
        let Operand::Name(argument, 0) = argument else { return fail(format!("argument {argument:?}")) };
        variables.insert(parameter.name.clone(), argument.clone());
    }
    for variable in &callee.variables {
        let name = format!("{}{suffix}", variable.name);
        variables.insert(variable.name.clone(), name.clone());
        out.variables.push(super::module::Variable { name, ..variable.clone() });
    }
    let end = format!("end{suffix}");
    let names = Names { first_register: out.registers.len(), suffix, variables, end: Some(end.clone()) };
    out.registers.extend_from_slice(&callee.registers);
    out.register_names.extend(callee.register_names.iter().cloned());
    expand(module, callee, out, &names, copies, depth + 1)?;
    out.labels.insert(end, out.body.len());
    Ok(())
}

fn renamed(instruction: &Instruction, from: &Function, names: &Names) -> Instruction {
    Instruction {
        line: instruction.line,
        guard: instruction.guard.map(|(register, negated)| (register + names.first_register, negated)),
        opcode: instruction.opcode.clone(),
        operands: instruction.operands.iter().map(|o| operand(o, from, names)).collect(),
    }
}

fn operand(from: &Operand, function: &Function, names: &Names) -> Operand {
    let all = |list: &[Operand]| list.iter().map(|o| operand(o, function, names)).collect();
    match from {
        Operand::Register { register, negated } => {
            Operand::Register { register: register + names.first_register, negated: *negated }
        }
        Operand::Pair(a, b) => Operand::Pair(a + names.first_register, b + names.first_register),
        Operand::Name(name, offset) => Operand::Name(rename(name, function, names), *offset),
        Operand::Address(base, offset) => Operand::Address(Box::new(operand(base, function, names)), *offset),
        Operand::List(list) => Operand::List(all(list)),
        Operand::Arguments(list) => Operand::Arguments(all(list)),
        other => other.clone(),
    }
}

fn rename(name: &str, function: &Function, names: &Names) -> String {
    if let Some(variable) = names.variables.get(name) {
        return variable.clone();
    }
    if function.labels.contains_key(name) || function.targets.contains_key(name) {
        return format!("{name}{}", names.suffix);
    }
    name.to_string()
}

//! Decodes one kernel: every instruction finds its handler, every variable its address.

use super::defined::{self, Role};
use super::flow;
use super::operands::Slot;
use super::registers;
use crate::exec::launch::SHARED_START;
use crate::exec::program::{Class, Code, Flow, Initial, NONE, Program};
use crate::isa::{Found, Opcode, SEARCHES, memory};
use crate::ptx::PtxError;
use crate::ptx::inline::without_calls;
use crate::ptx::module::{Function, Instruction, Module, Operand, Space, Width};
use std::collections::HashMap;
use std::sync::Arc;

/// An instruction whose registers have no rows yet.
pub struct Draft {
    /// All but registers and jumps.
    pub code: Code,
    /// Its registers.
    pub slots: Vec<Slot>,
    /// How unwritten operands matter.
    pub role: Role,
    /// The guard's register.
    pub guard: Option<usize>,
    /// Label to jump to.
    pub target: Option<String>,
}

/// The work on one kernel.
pub struct Decoder<'a> {
    function: &'a Function,
    target: u32,
    /// Width of each register: the function's, then those that decoding adds.
    pub widths: Vec<Width>,
    /// Where variables lie.
    pub symbols: HashMap<String, (Space, u64)>,
    initials: HashMap<Initial, usize>,
    drafts: Vec<Draft>,
    tables: Vec<Vec<String>>,
}

/// Decodes kernel `name`. `addresses` has the module's `.global` and `.const` variables.
///
/// # Errors
/// What the emulator does not know, with its line.
pub fn decode(
    module: &Module,
    name: &str,
    addresses: &HashMap<String, u64>,
    text: &Arc<str>,
) -> Result<Program, PtxError> {
    let Some(function) = module.functions.get(name).filter(|f| f.is_kernel) else {
        return Err(PtxError::new(1, format!("no kernel {name}")));
    };
    let function = without_calls(module, function)?;
    let mut program = Program {
        name: name.to_string(),
        text: text.clone(),
        code: Vec::new(),
        tables: Vec::new(),
        rows: 0,
        predicates: 0,
        initial: Vec::new(),
        parameters: Vec::new(),
        parameter_bytes: 0,
        shared_bytes: 0,
        dynamic_shared: 0,
        local_bytes: 0,
        max_threads: function.max_threads,
        exact_threads: function.exact_threads,
        patterns: 0,
        tracked_registers: 0,
        tracked: Vec::new(),
        tracked_at: Vec::new(),
        live_registers: 0,
        fences: function.body.iter().any(|i| i.opcode.starts_with("membar.") || i.opcode.starts_with("fence.")),
        contractible: contractible(&function),
    };
    let mut decoder = Decoder {
        function: &function,
        target: module.target,
        widths: function.registers.clone(),
        symbols: addresses.iter().map(|(name, &at)| (name.clone(), (Space::Global, at))).collect(),
        initials: HashMap::new(),
        drafts: Vec::new(),
        tables: Vec::new(),
    };
    decoder.place_variables(module, &mut program);
    let mut starts = Vec::new();
    for instruction in &function.body {
        starts.push(decoder.drafts.len());
        decoder.instruction(instruction)?;
    }
    starts.push(decoder.drafts.len());
    // A body may end without `ret`.
    let end = Instruction { line: function.body.last().map_or(1, |i| i.line), guard: None, opcode: "ret".into(), operands: vec![] };
    decoder.instruction(&end)?;
    decoder.finish(&starts, &mut program)?;
    Ok(program)
}

impl Decoder<'_> {
    fn place_variables(&mut self, module: &Module, program: &mut Program) {
        for parameter in &self.function.parameters {
            let at = program.parameter_bytes.next_multiple_of(parameter.align);
            program.parameters.push((at, parameter.bytes));
            program.parameter_bytes = at + parameter.bytes;
            self.symbols.insert(parameter.name.clone(), (Space::Param, at));
        }
        let mut used = std::collections::HashSet::new();
        for instruction in &self.function.body {
            instruction.operands.iter().for_each(|o| names(o, &mut used));
        }
        let shared = module.variables.iter().filter(|v| v.space == Space::Shared && used.contains(v.name.as_str()));
        let own = self.function.variables.iter().filter(|v| v.space == Space::Shared);
        let mut end = SHARED_START;
        let mut dynamic = Vec::new();
        let mut align = 16;
        for variable in shared.chain(own) {
            if variable.bytes == 0 {
                dynamic.push(variable.name.clone());
                align = align.max(variable.align);
                continue;
            }
            let at = end.next_multiple_of(variable.align);
            self.symbols.insert(variable.name.clone(), (Space::Shared, at));
            end = at + variable.bytes;
        }
        program.shared_bytes = end - SHARED_START;
        program.dynamic_shared = if dynamic.is_empty() { end } else { end.next_multiple_of(align) };
        for name in dynamic {
            self.symbols.insert(name, (Space::Shared, program.dynamic_shared));
        }
        // A call's variables of one name follow each other in time, and may differ in size.
        let mut local: HashMap<&str, (u64, u64)> = HashMap::new();
        let mut order = Vec::new();
        for v in self.function.variables.iter().filter(|v| matches!(v.space, Space::Local | Space::Param)) {
            let entry = local.entry(&v.name).or_insert_with(|| {
                order.push(v.name.as_str());
                (0, 1)
            });
            *entry = (entry.0.max(v.bytes), entry.1.max(v.align));
        }
        for name in order {
            let (bytes, align) = local[name];
            let at = program.local_bytes.next_multiple_of(align);
            self.symbols.insert(name.to_string(), (Space::Local, at));
            program.local_bytes = at + bytes;
        }
        program.local_bytes = program.local_bytes.next_multiple_of(16);
    }

    /// Whether a variable of local memory is a call's argument or result.
    #[must_use]
    pub fn is_call_variable(&self, name: &str) -> bool {
        self.function.variables.iter().any(|v| v.name == name && v.space == Space::Param)
    }

    /// The register that holds `initial` from the start.
    pub fn initial(&mut self, initial: Initial) -> usize {
        let next = self.widths.len();
        let register = *self.initials.entry(initial).or_insert(next);
        if register == next {
            self.widths.push(if matches!(initial, Initial::Const64(_)) { Width::B64 } else { Width::B32 });
        }
        register
    }

    fn instruction(&mut self, instruction: &Instruction) -> Result<(), PtxError> {
        let line = instruction.line;
        let fail = |what: String| Err(PtxError::new(line, what));
        let opcode = Opcode::new(&instruction.opcode, &instruction.operands, &self.widths);
        let Some(found) = SEARCHES.iter().find_map(|search| search(&opcode)) else {
            return fail(format!("unknown instruction {}", instruction.opcode));
        };
        if found.needs > self.target {
            return fail(format!("{} needs .target sm_{}", instruction.opcode, found.needs));
        }
        let operands = self.without_offsets(&found, instruction)?;
        let bound = self.bind(&found, &operands, line)?;
        let mut code = Code {
            run: found.run,
            imm: bound.imm.unwrap_or(found.imm),
            r: [NONE; 16],
            target: 0,
            join: 0,
            line,
            pattern: NONE,
            guard: NONE,
            guard_not: instruction.guard.is_some_and(|g| g.1),
            guard_tracked: false,
            flow: found.flow,
            class: found.class,
            flops: found.flops,
            small: [found.small[0], found.small[1] | bound.flags],
        };
        if bound.call_variable {
            if instruction.opcode.starts_with("ld.param") {
                code.run = memory::local_load();
            }
            code.class = Class::Local;
        } else if instruction.opcode.starts_with("st.param") {
            return fail("a kernel's parameters cannot be written".to_string());
        }
        if let Some(name) = bound.targets {
            let Some(list) = self.function.targets.get(&name) else { return fail(format!("unknown list {name}")) };
            code.imm = self.tables.len() as i64;
            self.tables.push(list.clone());
        }
        let guard = instruction.guard.map(|g| g.0);
        let role = Role::of(&instruction.opcode, code.class);
        self.drafts.push(Draft { code, role, slots: bound.slots, guard, target: bound.target });
        Ok(())
    }

    /// Of an instruction with two addresses, the offsets are added by instructions before it.
    fn without_offsets(&mut self, found: &Found, instruction: &Instruction) -> Result<Vec<Operand>, PtxError> {
        use super::operands::Arg;
        if !found.args.iter().any(|a| matches!(a, Arg::Memory2(_))) {
            return Ok(instruction.operands.clone());
        }
        let mut out = Vec::new();
        for operand in &instruction.operands {
            out.push(match operand {
                Operand::Address(base, offset) => {
                    let plain = match (&**base, offset) {
                        (base, 0) => base.clone(),
                        (Operand::Register { register, .. }, _) => {
                            let width = self.widths[*register];
                            self.widths.push(width);
                            let sum = Operand::Register { register: self.widths.len() - 1, negated: false };
                            let add = Instruction {
                                line: instruction.line,
                                guard: None,
                                opcode: if width == Width::B64 { "add.u64" } else { "add.u32" }.into(),
                                operands: vec![sum.clone(), (**base).clone(), Operand::Int(*offset as u64)],
                            };
                            self.instruction(&add)?;
                            sum
                        }
                        (Operand::Name(name, more), _) => Operand::Name(name.clone(), more + offset),
                        (other, _) => other.clone(),
                    };
                    Operand::Address(Box::new(plain), 0)
                }
                other => other.clone(),
            });
        }
        Ok(out)
    }

    fn finish(mut self, starts: &[usize], program: &mut Program) -> Result<(), PtxError> {
        let place = |label: &str, line: u32| {
            let at = self.function.labels.get(label).ok_or_else(|| PtxError::new(line, format!("unknown label {label}")))?;
            Ok::<u32, PtxError>(starts[*at] as u32)
        };
        for draft in &mut self.drafts {
            if let Some(target) = &draft.target {
                draft.code.target = place(target, draft.code.line)?;
            }
        }
        for table in &self.tables {
            program.tables.push(table.iter().map(|label| place(label, 1)).collect::<Result<_, _>>()?);
        }
        for code in self.drafts.iter_mut().map(|d| &mut d.code) {
            let count = match code.class {
                Class::Global | Class::Shared | Class::Local | Class::Constant | Class::Atomic => 1,
                Class::Copy => 2,
                _ => continue,
            };
            code.pattern = u16::try_from(program.patterns)
                .map_err(|_| PtxError::new(code.line, "too many accesses to memory"))?;
            program.patterns += count;
        }
        let graph = flow::Graph::new(&self.drafts, &program.tables);
        graph.set_joins(&mut self.drafts);
        let from_start: Vec<usize> = self.initials.values().copied().collect();
        let names = &self.function.register_names;
        defined::track(&mut self.drafts, &graph, names, self.widths.len(), &from_start, program);
        registers::assign(&mut self.drafts, &graph, &self.widths, &self.initials, program)?;
        program.code = self.drafts.into_iter().map(|d| d.code).collect();
        Ok(())
    }
}

fn names<'o>(operand: &'o Operand, out: &mut std::collections::HashSet<&'o str>) {
    match operand {
        Operand::Name(name, _) => {
            out.insert(name);
        }
        Operand::Address(base, _) => names(base, out),
        Operand::List(list) | Operand::Arguments(list) => list.iter().for_each(|o| names(o, out)),
        _ => {}
    }
}

/// Whether a flow ends a basic block.
#[must_use]
pub fn ends_block(flow: Flow) -> bool {
    matches!(flow, Flow::Branch | Flow::Table | Flow::Exit)
}

/// Lines of additions that ptxas may fuse with a multiplication before them: neither says how it rounds.
fn contractible(function: &Function) -> Vec<u32> {
    let open = |opcode: &str, bases: &[&str]| {
        let mut parts = opcode.split('.');
        let base = parts.next().unwrap_or_default();
        let rest: Vec<&str> = parts.filter(|p| !matches!(*p, "ftz" | "sat")).collect();
        bases.contains(&base) && (rest == ["f32"] || rest == ["f64"])
    };
    let registers = |operands: &[Operand]| -> Vec<usize> {
        operands.iter().filter_map(|o| if let Operand::Register { register, .. } = o { Some(*register) } else { None }).collect()
    };
    let products: std::collections::HashSet<usize> = function
        .body
        .iter()
        .filter(|i| open(&i.opcode, &["mul"]))
        .flat_map(|i| registers(&i.operands).first().copied())
        .collect();
    let sums = function.body.iter().filter(|i| open(&i.opcode, &["add", "sub"]));
    sums.filter(|i| registers(&i.operands).iter().skip(1).any(|r| products.contains(r))).map(|i| i.line).collect()
}

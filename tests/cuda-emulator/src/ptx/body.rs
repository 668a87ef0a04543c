//! Reads a function's body: registers, variables, labels and instructions.

use super::PtxError;
use super::lexer::Token;
use super::module::{Function, Instruction, Operand, Register, Width, type_bytes};
use super::parser::Parser;
use std::collections::HashMap;

/// The names that a body's blocks have declared, innermost last.
type Scopes = Vec<HashMap<String, Register>>;

impl Parser {
    /// Reads up to the brace that closes the body.
    pub(super) fn body(&mut self, function: &mut Function) -> Result<(), PtxError> {
        let mut scopes: Scopes = vec![HashMap::new()];
        loop {
            if self.take('{') {
                scopes.push(HashMap::new());
            } else if self.take('}') {
                scopes.pop();
                if scopes.is_empty() {
                    return Ok(());
                }
            } else if self.take('@') {
                let negated = self.take('!');
                let name = self.word()?;
                let Some(register) = find(&scopes, &name) else { return self.fail(format!("unknown register {name}")) };
                self.instruction(function, &scopes, Some((register, negated)))?;
            } else if !self.take(';') {
                let word = self.word()?;
                match word.as_str() {
                    ".reg" => self.registers(function, &mut scopes)?,
                    ".shared" | ".local" | ".param" => {
                        let variable = self.variable(&word)?;
                        function.variables.push(variable);
                    }
                    ".loc" => self.skip_line(),
                    ".pragma" => while !self.take(';') {
                        self.next()?;
                    },
                    _ if word.starts_with('.') => return self.fail(format!("unknown directive {word}")),
                    _ if self.take(':') => {
                        if self.take_word(".branchtargets") {
                            let mut list = Vec::new();
                            while !self.take(';') {
                                list.push(self.word()?);
                                self.take(',');
                            }
                            function.targets.insert(word, list);
                        } else if function.labels.insert(word.clone(), function.body.len()).is_some() {
                            return self.fail(format!("label {word} stands twice"));
                        }
                    }
                    _ => {
                        self.at -= 1;
                        self.instruction(function, &scopes, None)?;
                    }
                }
            }
        }
    }

    /// `.reg .type %r<9>;` or `.reg .type a, b;`
    fn registers(&mut self, function: &mut Function, scopes: &mut Scopes) -> Result<(), PtxError> {
        let kind = self.word()?;
        let width = match (kind.as_str(), type_bytes(&kind[1..])) {
            (".pred", _) => Width::Pred,
            (_, Some(1 | 2)) => Width::B16,
            (_, Some(4)) => Width::B32,
            (_, Some(8)) => Width::B64,
            _ => return self.fail(format!("unknown register type {kind}")),
        };
        loop {
            let name = self.word()?;
            let mut declare = |name: String| {
                if let Some(scope) = scopes.last_mut() {
                    scope.insert(name.clone(), function.registers.len());
                }
                function.registers.push(width);
                function.register_names.push(name);
            };
            if self.take('<') {
                let count = self.int()?;
                if count > 1 << 20 {
                    return self.fail(format!("{count} registers"));
                }
                (0..count).for_each(|k| declare(format!("{name}{k}")));
                self.expect('>')?;
            } else {
                declare(name);
            }
            if !self.take(',') {
                return self.expect(';');
            }
        }
    }

    fn instruction(
        &mut self,
        function: &mut Function,
        scopes: &Scopes,
        guard: Option<(Register, bool)>,
    ) -> Result<(), PtxError> {
        let line = self.line();
        let opcode = self.word()?;
        let mut operands = Vec::new();
        while !self.take(';') {
            operands.push(self.operand(scopes)?);
            if !self.take(',') {
                self.expect(';')?;
                break;
            }
        }
        function.body.push(Instruction { line, guard, opcode, operands });
        Ok(())
    }

    fn operand(&mut self, scopes: &Scopes) -> Result<Operand, PtxError> {
        if self.take('[') {
            let base = self.operand(scopes)?;
            let mut offset = 0i64;
            while self.take('+') {
                offset = offset.wrapping_add(self.int()? as i64);
            }
            self.expect(']')?;
            return Ok(match base {
                Operand::Name(name, more) => Operand::Address(Box::new(Operand::Name(name, 0)), offset + more),
                base => Operand::Address(Box::new(base), offset),
            });
        }
        for (open, close) in [('{', '}'), ('(', ')')] {
            if self.take(open) {
                let mut list = Vec::new();
                while !self.take(close) {
                    list.push(self.operand(scopes)?);
                    self.take(',');
                }
                return Ok(if open == '{' { Operand::List(list) } else { Operand::Arguments(list) });
            }
        }
        let negated = self.take('!');
        match self.peek().cloned() {
            Some(Token::Sign('-') | Token::Int(_)) => return Ok(Operand::Int(self.int()?)),
            Some(Token::F32(bits)) => {
                self.at += 1;
                return Ok(Operand::F32(bits));
            }
            Some(Token::F64(bits)) => {
                self.at += 1;
                return Ok(Operand::F64(bits));
            }
            _ => {}
        }
        let name = self.word()?;
        if name == "_" {
            return Ok(Operand::Sink);
        }
        if let Some(register) = find(scopes, &name) {
            if self.take('|') {
                let second = self.word()?;
                return match find(scopes, &second) {
                    Some(second) => Ok(Operand::Pair(register, second)),
                    None => self.fail(format!("unknown register {second}")),
                };
            }
            return Ok(Operand::Register { register, negated });
        }
        if let Some(special) = name.strip_prefix('%') {
            return Ok(Operand::Special(special.to_string()));
        }
        let mut offset = 0;
        while matches!((self.peek(), self.tokens.get(self.at + 1)), (Some(Token::Sign('+')), Some(_))) {
            self.at += 1;
            offset += self.int()? as i64;
        }
        Ok(Operand::Name(name, offset))
    }
}

fn find(scopes: &Scopes, name: &str) -> Option<Register> {
    scopes.iter().rev().find_map(|scope| scope.get(name).copied())
}

//! Reads a module: directives, declarations and instructions. What it does not know is an error.

use super::PtxError;
use super::lexer::{Token, tokens};
use super::module::{Function, Module, Parameter, Space, Variable, type_bytes};

/// Reads a PTX text.
///
/// # Errors
/// What is not PTX, or a directive that the emulator does not know; with its line.
pub fn parse(text: &str) -> Result<Module, PtxError> {
    Parser { tokens: tokens(text)?, at: 0 }.module()
}

/// No variable is as large as this many bytes.
const LARGEST: u64 = 1 << 40;

/// Where the reading stands.
pub(super) struct Parser {
    pub(super) tokens: Vec<(Token, u32)>,
    pub(super) at: usize,
}

impl Parser {
    pub(super) fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |t| t.1)
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|t| &t.0)
    }

    pub(super) fn fail<T>(&self, what: impl Into<String>) -> Result<T, PtxError> {
        Err(PtxError::new(self.line(), what))
    }

    pub(super) fn next(&mut self) -> Result<Token, PtxError> {
        let Some(token) = self.peek().cloned() else { return self.fail("the text ends too early") };
        self.at += 1;
        Ok(token)
    }

    pub(super) fn take(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, sign: char) -> Result<(), PtxError> {
        if self.take(sign) { Ok(()) } else { self.fail(format!("'{sign}' expected, found {:?}", self.peek())) }
    }

    pub(super) fn word(&mut self) -> Result<String, PtxError> {
        match self.peek().cloned() {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(word)
            }
            other => self.fail(format!("a name expected, found {other:?}")),
        }
    }

    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(w)) if w == word);
        self.at += usize::from(found);
        found
    }

    pub(super) fn int(&mut self) -> Result<u64, PtxError> {
        let negative = self.take('-');
        match self.next()? {
            Token::Int(value) => Ok(if negative { value.wrapping_neg() } else { value }),
            other => self.fail(format!("an integer expected, found {other:?}")),
        }
    }

    fn module(mut self) -> Result<Module, PtxError> {
        let mut module = Module::default();
        while self.peek().is_some() {
            let directive = self.word()?;
            match directive.as_str() {
                ".version" => {
                    let (major, minor) = (self.int()? as u32, self.word()?);
                    let minor: u32 = minor[1..].parse().or_else(|_| self.fail("version expected"))?;
                    module.version = major * 10 + minor;
                    if !(70..=95).contains(&module.version) {
                        return self.fail(format!("PTX version {major}.{minor} is not one of 7.0 to 9.5"));
                    }
                }
                ".target" => {
                    let name = self.word()?;
                    let digits: String = name.chars().filter(char::is_ascii_digit).collect();
                    module.target = digits.parse().or_else(|_| self.fail(format!("target {name}")))?;
                    while self.take(',') {
                        self.word()?;
                    }
                }
                ".address_size" => {
                    if self.int()? != 64 {
                        return self.fail("only 64-bit addresses");
                    }
                }
                ".visible" | ".weak" | ".extern" => {}
                ".file" => self.skip_line(),
                ".section" => self.skip_section()?,
                ".global" | ".const" | ".shared" => {
                    let variable = self.variable(&directive)?;
                    module.variables.push(variable);
                }
                ".entry" | ".func" => {
                    if let Some(function) = self.function(directive == ".entry")? {
                        module.functions.insert(function.name.clone(), function);
                    }
                }
                _ => return self.fail(format!("unknown directive {directive}")),
            }
        }
        if module.version == 0 || module.target == 0 {
            return self.fail(".version or .target is missing");
        }
        Ok(module)
    }

    pub(super) fn skip_line(&mut self) {
        let line = self.tokens[self.at - 1].1;
        while self.tokens.get(self.at).is_some_and(|t| t.1 == line) {
            self.at += 1;
        }
    }

    fn skip_section(&mut self) -> Result<(), PtxError> {
        while !self.take('{') {
            self.next()?;
        }
        while !self.take('}') {
            self.next()?;
        }
        Ok(())
    }

    /// `[.align N] .type name[N] [= value];` after the state space.
    pub(super) fn variable(&mut self, space: &str) -> Result<Variable, PtxError> {
        let line = self.line();
        let space = match space {
            ".global" => Space::Global,
            ".const" => Space::Const,
            ".shared" => Space::Shared,
            ".local" => Space::Local,
            _ => Space::Param,
        };
        let (name, element, align, count) = self.declarator()?;
        let mut value = Vec::new();
        if self.take('=') {
            if self.take('{') {
                while !self.take('}') {
                    self.initial(element, &mut value)?;
                    self.take(',');
                }
            } else {
                self.initial(element, &mut value)?;
            }
        }
        self.expect(';')?;
        Ok(Variable { name, space, align, bytes: element * count, value, line })
    }

    /// `[.ptr .space] [.align N] .type name[N]...`: name, bytes of an element, alignment, elements (0 for `[]`).
    fn declarator(&mut self) -> Result<(String, u64, u64, u64), PtxError> {
        let (mut align, mut element, mut lanes) = (None, None, 1);
        loop {
            let word = self.word()?;
            match word.as_str() {
                ".align" => {
                    let n = self.int()?;
                    // The alignment after `.ptr` speaks of what the pointer points to.
                    align = align.or(if element.is_some() { None } else { Some(n) });
                }
                ".ptr" | ".global" | ".shared" | ".local" | ".const" => {}
                ".v2" => lanes = 2,
                ".v4" => lanes = 4,
                _ if word.starts_with('.') => match type_bytes(&word[1..]) {
                    Some(bytes) => element = Some(bytes),
                    None => return self.fail(format!("unknown type {word}")),
                },
                _ => {
                    let Some(element) = element.map(|bytes| bytes * lanes) else {
                        return self.fail(format!("{word} has no type"));
                    };
                    let mut count = 1;
                    while self.take('[') {
                        let n = if self.peek() == Some(&Token::Sign(']')) { 0 } else { self.int()? };
                        let fits = u64::checked_mul(count, n).filter(|c| c.checked_mul(element).is_some_and(|b| b < LARGEST));
                        let Some(product) = fits else { return self.fail(format!("size of {word}")) };
                        count = product;
                        self.expect(']')?;
                    }
                    let align = align.unwrap_or(element);
                    if !align.is_power_of_two() || align > 1 << 16 {
                        return self.fail(format!("alignment {align} of {word}"));
                    }
                    return Ok((word, element, align, count));
                }
            }
        }
    }

    fn initial(&mut self, element: u64, value: &mut Vec<u8>) -> Result<(), PtxError> {
        let bits = match self.peek().cloned() {
            Some(Token::F32(bits)) => {
                self.at += 1;
                u64::from(bits)
            }
            Some(Token::F64(bits)) => {
                self.at += 1;
                bits
            }
            Some(Token::Sign('-') | Token::Int(_)) => self.int()?,
            other => return self.fail(format!("initial value {other:?}")),
        };
        value.extend_from_slice(&bits.to_le_bytes()[..element as usize]);
        Ok(())
    }

    fn parameters(&mut self, out: &mut Vec<Parameter>) -> Result<(), PtxError> {
        while !self.take(')') {
            match self.word()?.as_str() {
                ".param" => {}
                other => return self.fail(format!("'.param' expected, found {other}")),
            }
            let (name, element, align, count) = self.declarator()?;
            out.push(Parameter { name, bytes: element * count, align });
            self.take(',');
        }
        Ok(())
    }

    /// A kernel or function; `None` for a declaration without a body.
    fn function(&mut self, is_kernel: bool) -> Result<Option<Function>, PtxError> {
        let mut function = Function { is_kernel, ..Function::default() };
        if self.take('(') {
            self.parameters(&mut function.parameters)?;
            function.results = function.parameters.len();
        }
        function.name = self.word()?;
        if self.take('(') {
            self.parameters(&mut function.parameters)?;
        }
        loop {
            if self.take(';') {
                return Ok(None);
            }
            if self.take('{') {
                break;
            }
            let directive = self.word()?;
            match directive.as_str() {
                ".maxntid" | ".reqntid" => {
                    let mut size = [self.int()? as u32, 1, 1];
                    for axis in &mut size[1..] {
                        if self.take(',') {
                            *axis = self.int()? as u32;
                        }
                    }
                    function.max_threads = Some(size);
                    function.exact_threads = directive == ".reqntid";
                }
                ".minnctapersm" | ".maxnreg" => {
                    self.int()?;
                }
                ".noreturn" => {}
                _ => return self.fail(format!("unknown directive {directive}")),
            }
        }
        self.body(&mut function)?;
        Ok(Some(function))
    }
}

//! The checks of an entry's arguments, and the outputs that are left out.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, InstBuilder, MemFlagsData, StackSlot, types};

use super::code::Code;
use crate::call::entry::{EntryArgument, EntryArray, EntryCheck, EntryNumber, Place};

/// What the checks of an entry have found.
pub(super) struct Arguments<'a> {
    check: &'a EntryCheck,
    frame: StackSlot,
    copies: StackSlot,
    /// The values of the frame's slots.
    slots: Vec<Option<ir::Value>>,
    /// The extents that are known so far.
    extents: Vec<Option<ir::Value>>,
    /// By argument: the array, if it is one.
    arrays: Vec<Option<Array>>,
}

/// An array that has been checked.
#[derive(Clone, Copy)]
struct Array {
    address: ir::Value,
    flags: ir::Value,
    /// The size of its elements in bytes.
    size: ir::Value,
    /// The size in bytes, with what lies between its rows.
    reach: ir::Value,
}

impl<'a> Arguments<'a> {
    pub(super) fn new(
        code: &mut Code,
        check: &'a EntryCheck,
        (frame, slots): (StackSlot, usize),
    ) -> Self {
        let extents = check.extents.iter();
        let extents = extents.map(|known| {
            let known = known.map(u64::cast_signed);
            known.map(|known| code.builder.ins().iconst(types::I64, known))
        });
        let extents = extents.collect();
        Self {
            check,
            frame,
            copies: code.memory(check.references.len()),
            slots: vec![None; slots],
            extents,
            arrays: Vec::new(),
        }
    }

    /// Generates the checks; `None` if the check can't be compiled.
    pub(super) fn check(
        &mut self,
        code: &mut Code,
        (function, arguments): (ir::Value, ir::Value),
    ) -> Option<()> {
        for (argument, offset) in (self.check.arguments.iter()).zip((0..).step_by(size_of::<u64>()))
        {
            let object = code.load(types::I64, arguments, offset);
            let array = match argument {
                EntryArgument::Number(number, place) => {
                    let value = code.number(*number, object);
                    self.pass(code, *place, value)?;
                    None
                }
                EntryArgument::Array(rule) => Some(self.array(code, rule, object)?),
            };
            self.arrays.push(array);
        }
        self.finish_extents(code)?;
        self.require_disjoint(code);
        self.require_small(code, function);
        for &slot in &self.check.nulls {
            let null = code.constant(0);
            self.pass(code, Place::Slot(slot), null)?;
        }
        for &(slot, copy) in &self.check.references {
            let address = code.address_of(self.copies, copy);
            self.pass(code, Place::Slot(slot), address)?;
        }
        Some(())
    }

    /// Generates the arrays for the outputs that are left out, whose objects are stored with null behind them.
    /// `failed` generates what is done if one can't be made.
    pub(super) fn make_outputs(
        &mut self,
        code: &mut Code,
        objects: StackSlot,
        failed: impl Fn(&mut Code),
    ) -> Option<()> {
        let outputs = &self.check.outputs;
        let null = code.constant(0);
        for index in 0..=outputs.len() {
            code.store_in(objects, index, null);
        }
        for (index, output) in outputs.iter().enumerate() {
            let shape = code.memory(output.axes.len());
            for (axis, &extent) in output.axes.iter().enumerate() {
                code.store_in(shape, axis, (*self.extents.get(extent)?)?);
            }
            let is_column_major = output.layout.is_some_and(|layout| layout.is_column_major);
            let given = [
                code.constant(output.dtype),
                code.address_of(shape, 0),
                code.constant(output.axes.len()),
                code.constant(is_column_major.into()),
            ];
            let object = code.call(code.host.array.zeros, &given);
            code.store_in(objects, index, object);
            let is_null = code.builder.ins().icmp_imm_s(IntCC::Equal, object, 0);
            code.rarely(is_null, |code, _| failed(code));
            let address = code.load(types::I64, object, code.host.array.address);
            self.pass(code, Place::Slot(output.slot), address)?;
        }
        Some(())
    }

    /// Returns the values of the slots that are passed.
    pub(super) fn slots(&self) -> impl Iterator<Item = Option<ir::Value>> {
        self.slots.iter().copied()
    }

    /// Passes a value.
    fn pass(&mut self, code: &mut Code, place: Place, value: ir::Value) -> Option<()> {
        match place {
            Place::Slot(slot) => {
                code.store_in(self.frame, slot, value);
                *self.slots.get_mut(slot)? = Some(value);
            }
            Place::Copy(copy) => code.store_in(self.copies, copy, value),
        }
        Some(())
    }

    /// Compares an extent with a length, or sets it.
    fn agree(&mut self, code: &mut Code, extent: usize, length: ir::Value) -> Option<()> {
        match self.extents.get_mut(extent)? {
            Some(known) => code.require_equal(*known, length),
            unset => *unset = Some(length),
        }
        Some(())
    }

    /// Generates the check of an array.
    fn array(&mut self, code: &mut Code, rule: &EntryArray, object: ir::Value) -> Option<Array> {
        let fields = code.host.array;
        code.require_array(object);
        let found = code.load(types::I64, object, fields.dtype);
        let expected = code.constant(rule.dtype);
        code.require_equal(found, expected);
        let ndim = code.load(types::I32, object, fields.ndim);
        let rank = i64::try_from(rule.axes.len()).ok()?;
        code.require_imm(IntCC::Equal, ndim, rank);
        let flags = code.load(types::I32, object, fields.flags);
        let order = rule.layout.map_or(fields.is_contiguous, |_| 0);
        let access = if rule.is_const {
            0
        } else {
            fields.is_writeable
        };
        let required = i64::from(order | access);
        if required != 0 {
            let present = code.builder.ins().band_imm_s(flags, required);
            code.require_imm(IntCC::Equal, present, required);
        }
        let address = code.load(types::I64, object, fields.address);
        if rule.misaligned != 0 {
            let mask = code.constant(rule.misaligned);
            let bits = code.builder.ins().band(address, mask);
            code.refuse_if(bits);
        }
        self.pass(code, Place::Slot(rule.slot), address)?;

        let shape = code.load(types::I64, object, fields.shape);
        let mut size = code.constant(rule.itemsize);
        let mut lengths = Vec::new();
        for (&extent, offset) in rule.axes.iter().zip((0..).step_by(size_of::<u64>())) {
            let length = code.load(types::I64, shape, offset);
            self.agree(code, extent, length)?;
            size = code.builder.ins().imul(size, length);
            lengths.push(length);
        }
        let reach = match rule.layout {
            Some(_) => self.layout(code, rule, object, &lengths)?,
            None => size,
        };
        Some(Array {
            address,
            flags,
            size,
            reach,
        })
    }

    /// Generates the check of an array's layout: see `ArrayLayout::leading`. Returns its size in bytes, with what
    /// lies between its rows.
    fn layout(
        &mut self,
        code: &mut Code,
        rule: &EntryArray,
        object: ir::Value,
        lengths: &[ir::Value],
    ) -> Option<ir::Value> {
        let layout = rule.layout?;
        let strides = code.load(types::I64, object, code.host.array.strides);
        // An array without elements has any layout: the full check looks at it.
        for &length in lengths {
            code.require(length);
        }
        let stride = |code: &mut Code, axis: usize| {
            let stride = code.load(types::I64, strides, axis * size_of::<u64>());
            (lengths.get(axis).copied(), stride)
        };
        let mut reach = code.constant(rule.itemsize);
        let mut step = code.constant(rule.itemsize);
        let (fast, slow) = match (lengths.len(), layout.is_column_major) {
            (1, _) => (None, 0),
            (2, true) => (Some(0), 1),
            (2, false) => (Some(1), 0),
            _ => return None,
        };
        if let Some(axis) = fast {
            let (length, found) = stride(code, axis);
            let length = length?;
            code.require_if_several(length, |code| {
                code.builder.ins().icmp(IntCC::Equal, found, step)
            });
            step = code.builder.ins().imul(step, length);
            reach = step;
        }
        let (length, found) = stride(code, slow);
        let length = length?;
        let Some(extent) = layout.stride else {
            code.require_if_several(length, |code| {
                code.builder.ins().icmp(IntCC::Equal, found, step)
            });
            return Some(code.builder.ins().imul(step, length));
        };
        // Only rows that follow each other tell the distance. If it is not told, it is the length of a row.
        code.require_if_several(length, |code| {
            let is_apart = IntCC::SignedGreaterThanOrEqual;
            let is_apart = code.builder.ins().icmp(is_apart, found, step);
            let rest = i64::try_from(rule.itemsize - 1).unwrap_or(0);
            let rest = code.builder.ins().band_imm_s(found, rest);
            let is_whole = code.builder.ins().icmp_imm_s(IntCC::Equal, rest, 0);
            code.builder.ins().band(is_apart, is_whole)
        });
        let several = code.is_several(length);
        let distance = code.builder.ins().select(several, found, step);
        let shift = i64::from(rule.itemsize.trailing_zeros());
        let elements = code.builder.ins().ushr_imm_u(distance, shift);
        self.agree(code, extent, elements)?;
        let rows = code.builder.ins().iadd_imm_s(length, -1);
        let between = code.builder.ins().imul(rows, distance);
        Some(code.builder.ins().iadd(reach, between))
    }

    /// Passes the inferred numbers, and sets the distances between rows that no array has set.
    fn finish_extents(&mut self, code: &mut Code) -> Option<()> {
        for &(extent, row) in &self.check.strides {
            if self.extents.get(extent)?.is_some() {
                continue;
            }
            let one = code.builder.ins().iconst(types::I64, 1);
            let length = match row {
                Some(row) => {
                    let row = (*self.extents.get(row)?)?;
                    code.builder.ins().umax(row, one)
                }
                None => one,
            };
            *self.extents.get_mut(extent)? = Some(length);
        }
        for &(extent, max, place) in &self.check.inferred {
            let value = (*self.extents.get(extent)?)?;
            if let Ok(max) = i64::try_from(max) {
                code.require_imm(IntCC::SignedLessThanOrEqual, value, max);
            }
            if let Some(place) = place {
                self.pass(code, place, value)?;
            }
        }
        Some(())
    }

    /// Generates the check that the arrays which must not share a byte share none.
    fn require_disjoint(&self, code: &mut Code) {
        let array = |index: usize| self.arrays.get(index).copied().flatten();
        let mut all_flags = None;
        for [one, other] in &self.check.disjoint {
            let (Some(one), Some(other)) = (array(*one), array(*other)) else {
                continue;
            };
            // Each has its memory, so that no size overflows. One that has no bytes shares none, and is seen as if
            // it did if it lies within the other.
            let distance = code.builder.ins().isub(one.address, other.address);
            code.require_that(IntCC::UnsignedGreaterThanOrEqual, distance, other.reach);
            let distance = code.builder.ins().isub(other.address, one.address);
            code.require_that(IntCC::UnsignedGreaterThanOrEqual, distance, one.reach);
            for array in [one, other] {
                all_flags = Some(match all_flags {
                    Some(all) => code.builder.ins().band(all, array.flags),
                    None => array.flags,
                });
            }
        }
        // Nor at other addresses.
        if let Some(all) = all_flags {
            let private = i64::from(code.host.array.is_private);
            let private = code.builder.ins().band_imm_s(all, private);
            code.require(private);
        }
    }

    /// Generates the check that the arrays have few bytes together.
    fn require_small(&self, code: &mut Code, function: ir::Value) {
        let sizes = self.arrays.iter().flatten().map(|array| array.size);
        let bytes = sizes.reduce(|sum, size| code.builder.ins().iadd(sum, size));
        if let Some(bytes) = bytes {
            let below = code.host.function.held_below;
            let below = code.load(types::I64, function, below);
            code.require_that(IntCC::UnsignedLessThan, bytes, below);
        }
    }
}

impl Code<'_, '_> {
    /// Generates the check that an object is a number. Returns its slot.
    fn number(&mut self, number: EntryNumber, object: ir::Value) -> ir::Value {
        match number {
            EntryNumber::Double => {
                let value = self.real(object);
                self.bits(value)
            }
            EntryNumber::Float => self.float(object),
            EntryNumber::Integer { bits, is_signed } => self.integer(object, bits, is_signed),
        }
    }

    /// Generates the check that an object is a plain floating-point number. Returns its `double`.
    fn real(&mut self, object: ir::Value) -> ir::Value {
        let class = self.load(types::I64, object, self.host.class);
        let expected = self.constant(self.host.real.class);
        self.require_equal(class, expected);
        self.load(types::F64, object, self.host.real.value)
    }

    /// Generates the conversion to the nearest `float`, which is infinite for infinity only. Returns its slot.
    fn float(&mut self, object: ir::Value) -> ir::Value {
        let value = self.real(object);
        let nearest = self.builder.ins().fdemote(types::F32, value);
        let flags = MemFlagsData::new();
        let bits = self.builder.ins().bitcast(types::I32, flags, nearest);
        let bits = self.builder.ins().uextend(types::I64, bits);
        let magnitude = self.builder.ins().band_imm_s(bits, 0x7fff_ffff);
        let infinity = i64::from(f32::INFINITY.to_bits());
        let is_infinite = self
            .builder
            .ins()
            .icmp_imm_s(IntCC::Equal, magnitude, infinity);
        self.rarely(is_infinite, |code, next| {
            let value = code.bits(value);
            let magnitude = code.builder.ins().ishl_imm_u(value, 1);
            let infinity = (f64::INFINITY.to_bits() << 1).cast_signed();
            let infinity = code.builder.ins().iconst(types::I64, infinity);
            let is_exact = code.builder.ins().icmp(IntCC::Equal, magnitude, infinity);
            code.jump_if(is_exact, next);
        });
        bits
    }

    /// Generates the check that an object is an integer that a type has. Returns its slot.
    fn integer(&mut self, object: ir::Value, bits: u32, is_signed: bool) -> ir::Value {
        let class = self.load(types::I64, object, self.host.class);
        let expected = self.constant(self.host.integer.class);
        self.require_equal(class, expected);
        let overflow = self.memory(1);
        let overflow = self.address_of(overflow, 0);
        let value = self.call(self.host.integer.read, &[object, overflow]);
        let overflow = self.load(types::I32, overflow, 0);
        self.refuse_if(overflow);
        if bits == 64 {
            if !is_signed {
                self.require_imm(IntCC::SignedGreaterThanOrEqual, value, 0);
            }
        } else {
            let back = self.extended(value, bits, is_signed);
            self.require_equal(back, value);
        }
        value
    }

    /// Generates the check that an object is an array.
    fn require_array(&mut self, object: ir::Value) {
        let fields = self.host.array;
        let class = self.load(types::I64, object, self.host.class);
        let expected = self.constant(fields.class);
        let is_other = self.builder.ins().icmp(IntCC::NotEqual, class, expected);
        self.rarely(is_other, |code, next| {
            let version = code.load(types::I32, class, fields.version);
            code.require_imm(IntCC::NotEqual, version, 0);
            let known = code.constant(fields.other_version);
            let known = code.load(types::I32, known, 0);
            let is_known = code.builder.ins().icmp(IntCC::Equal, version, known);
            code.jump_if(is_known, next);
        });
    }

    fn is_several(&mut self, length: ir::Value) -> ir::Value {
        self.builder.ins().icmp_imm_s(IntCC::NotEqual, length, 1)
    }

    /// Generates a condition for the stride of an axis, which any has that has one element only.
    fn require_if_several(
        &mut self,
        length: ir::Value,
        condition: impl FnOnce(&mut Self) -> ir::Value,
    ) {
        let is_one = self.builder.ins().icmp_imm_s(IntCC::Equal, length, 1);
        let holds = condition(self);
        let holds = self.builder.ins().bor(is_one, holds);
        self.require(holds);
    }
}

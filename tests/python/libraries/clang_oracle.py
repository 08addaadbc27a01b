"""Reads headers by libclang, in the form in which `examples/declarations.rs` writes them."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from clang.cindex import (
    Cursor,
    CursorKind,
    Index,
    StorageClass,
    TranslationUnit,
    Type,
    TypeKind,
    conf,
)

# Keywords of GCC that the clang of PyPI's libclang lacks, each with a type of the same size.
FLOATS = {
    "_Float32": "float",
    "_Float64": "double",
    "_Float32x": "double",
    "_Float64x": "long double",
    "_Float128": "__float128",
}
# The names that mapcall gives to types of one representation.
NAMES = {TypeKind.BOOL: "_Bool"}

# The names of the variables that have the values of macros, and the file in which they are.
PREFIX, VALUES = "value_of_macro_", "values of macros"

libclang = conf.lib
libclang.clang_Cursor_Evaluate.argtypes = [Cursor]
libclang.clang_Cursor_Evaluate.restype = ctypes.c_void_p
libclang.clang_EvalResult_getKind.argtypes = [ctypes.c_void_p]
libclang.clang_EvalResult_isUnsignedInt.argtypes = [ctypes.c_void_p]
for name, result in {
    "AsLongLong": ctypes.c_longlong,
    "AsUnsigned": ctypes.c_ulonglong,
    "AsDouble": ctypes.c_double,
    "AsStr": ctypes.c_char_p,
}.items():
    getter = getattr(libclang, f"clang_EvalResult_get{name}")
    getter.argtypes, getter.restype = [ctypes.c_void_p], result


@dataclass
class Known:
    """The declarations of a header in files below a folder."""

    # The types of the result and the parameters.
    functions: dict[str, list[str]] = field(default_factory=dict)
    # Size and alignment in bytes; name, offset in bits and type of each member.
    structs: dict[str, tuple[int, int, list[str]]] = field(default_factory=dict)
    enumerators: dict[str, int] = field(default_factory=dict)
    # The types of variables.
    variables: dict[str, str] = field(default_factory=dict)
    # The functions that macros stand for: `#define f(x) g(x)`.
    renamed: dict[str, str] = field(default_factory=dict)
    # The names of what is declared in other files.
    elsewhere: set[str] = field(default_factory=set)
    # The macros that are numbers or strings.
    macros: dict[str, int | float | bytes] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def read(header: str, include: list[Path], below: Path) -> Known:
    """Reads headers as `cc -E` writes them, so that only the parsers differ."""
    command = ["cc", "-E", "-w", "-dD", "-x", "c", *[f"-I{folder}" for folder in include], "-"]
    source = "".join(f"#include <{name}>\n" for name in header.split())
    text = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    files, lines, macros, known = [], [], {}, Known()
    file = ""
    for line in text.splitlines():
        if marker := re.match(r'# \d+ "(.*?)"', line):
            file = marker[1]
        elif macro := re.match(r"#define (\w+)(?: (.*)|$)", line):
            macros[macro[1]] = file, macro[2] or ""
        elif macro := re.match(r"#define (\w+)\((.*?)\) (\w+) ?\((.*?)\)$", line):
            if "".join(macro[2].split()) == "".join(macro[4].split()):
                known.renamed[macro[1]] = macro[3]
        elif macro := re.match(r"#undef (\w+)", line):
            macros.pop(macro[1], None)
        files.append(file)
        is_declaration = not line.startswith("#") or line.startswith("#pragma")
        line = line if is_declaration or line.startswith(("#define", "#undef")) else ""
        lines.append(re.sub(r"\b_Float\d+x?\b", lambda name: FLOATS.get(name[0], name[0]), line))
    own = str(below)
    names = {
        name: body
        for name, (file, body) in macros.items()
        if file.startswith(own) and _is_constant(body, macros)
    }
    known.elsewhere = set(macros) - set(names)
    # Each macro is the value of a variable; an error in one leaves the others. Only without
    # parentheses does libclang evaluate a string, and only with them is it an expression.
    lines += [f"static __auto_type {PREFIX}{name} = ({name});" for name in names]
    lines += [f"static __auto_type {PREFIX}{name} = {name};" for name in names]
    files += [VALUES] * 2 * len(names)
    unit = Index.create().parse(
        "header.c",
        ["-std=gnu11", "-ferror-limit=0", "-w"],
        unsaved_files=[("header.c", "\n".join(lines))],
        options=TranslationUnit.PARSE_SKIP_FUNCTION_BODIES,
    )
    _described.clear()
    for problem in unit.diagnostics:
        file = files[problem.location.line - 1]
        # The C library has attributes that this clang ignores as errors: `malloc` with arguments.
        if problem.severity >= problem.Error and file.startswith(own):
            known.errors.append(f"{file}: {problem.spelling}")
    seen: set[str] = set()
    for cursor in unit.cursor.get_children():
        if cursor.spelling.startswith(PREFIX):
            name = cursor.spelling.removeprefix(PREFIX)
            value = _value(cursor)
            if isinstance(value, bytes) or (value is not None and name not in seen):
                known.macros[name] = value
            elif names[name] in known.functions:
                known.functions[name] = _function(cursor.type.get_canonical().get_pointee())
            else:
                known.elsewhere.add(name)
            seen.add(name)
            continue
        if not files[cursor.location.line - 1].startswith(own):
            known.elsewhere.add(cursor.spelling)
            continue
        _declaration(cursor, known)
    return known


def _is_constant(body: str, macros: dict[str, tuple[str, str]]) -> bool:
    """Returns whether a macro may be a constant: one expression, the same in every place."""
    inner = None
    while body != inner:
        inner, body = body, macros[body][1] if body in macros else body
    inner = None
    while body != inner:
        inner, body = body, re.sub(r"\([^()]*\)", "", body)
    return "," not in body and not re.search(r"__(FUNCTION|PRETTY_FUNCTION|LINE)__|__has_", body)


def _declaration(cursor: Cursor, known: Known) -> None:
    match cursor.kind:
        case CursorKind.FUNCTION_DECL:
            known.functions[cursor.spelling] = _function(cursor.type)
        case CursorKind.VAR_DECL if cursor.storage_class != StorageClass.STATIC:
            qualifier = "const " if _is_const(cursor.type) else ""
            known.variables[cursor.spelling] = qualifier + describe(cursor.type)
        case CursorKind.STRUCT_DECL | CursorKind.UNION_DECL if cursor.is_definition():
            if not cursor.is_anonymous() and cursor.spelling:
                _struct(cursor.spelling, cursor.type, known)
            for inner in cursor.get_children():
                _declaration(inner, known)
        case CursorKind.TYPEDEF_DECL:
            target = cursor.underlying_typedef_type.get_canonical()
            if target.kind == TypeKind.RECORD and target.get_size() >= 0:
                _struct(cursor.spelling, target, known)
        case CursorKind.ENUM_DECL:
            for enumerator in cursor.get_children():
                if enumerator.kind == CursorKind.ENUM_CONSTANT_DECL:
                    known.enumerators[enumerator.spelling] = enumerator.enum_value


def _value(variable: Cursor) -> int | float | bytes | None:
    """Returns the value of a constant; `None` if it is none, or neither a number nor a string."""
    ctype = variable.type.get_canonical()
    is_text = ctype.kind in (TypeKind.POINTER, TypeKind.CONSTANTARRAY)
    if is_text and ctype.spelling.removeprefix("const ")[:4] != "char":
        return None
    result = libclang.clang_Cursor_Evaluate(variable)
    if not result:
        return None
    try:
        match libclang.clang_EvalResult_getKind(result):
            case 1 if libclang.clang_EvalResult_isUnsignedInt(result):
                return libclang.clang_EvalResult_getAsUnsigned(result)
            case 1:
                return libclang.clang_EvalResult_getAsLongLong(result)
            case 2:
                return libclang.clang_EvalResult_getAsDouble(result)
            case 4:
                return libclang.clang_EvalResult_getAsStr(result)
        return None
    finally:
        libclang.clang_EvalResult_dispose(ctypes.c_void_p(result))


def _struct(name: str, record: Type, known: Known) -> None:
    if " " in name or name in known.structs:
        return
    members = list(_members(record, 0))
    known.structs[name] = (record.get_size(), record.get_align(), members)


def _members(record: Type, offset: int) -> Iterator[str]:
    for member in record.get_fields():
        at = offset + member.get_field_offsetof()
        target = member.type.get_canonical()
        if not member.spelling or "(" in member.spelling:
            if target.kind == TypeKind.RECORD:
                yield from _members(target, at)
            continue
        bits = f":{member.get_bitfield_width()}" if member.is_bitfield() else ""
        yield f"{member.spelling} {at}{bits} {describe(member.type)}"


def _function(function: Type) -> list[str]:
    function = function.get_canonical()
    types = [describe(function.get_result())]
    if function.kind == TypeKind.FUNCTIONPROTO:
        types += [describe(parameter) for parameter in function.argument_types()]
        if function.is_function_variadic():
            types.append("...")
    return types


def describe(ctype: Type) -> str:
    """Describes a type from the outside to the inside, as `examples/declarations.rs` does."""
    canonical = ctype.get_canonical()
    spelling = canonical.spelling
    if spelling not in _described:
        _described[spelling] = _describe(spelling, canonical)
    return _described[spelling]


# The descriptions of types by their spelling, of one header.
_described: dict[str, str] = {}


def _describe(spelling: str, ctype: Type) -> str:
    match ctype.kind:
        # A `va_list` as a parameter.
        case TypeKind.POINTER if spelling == "struct __va_list_tag *":
            return "__builtin_va_list"
        case TypeKind.POINTER:
            target = ctype.get_pointee()
            qualifier = "const " if _is_const(target) else ""
            return f"pointer({qualifier}{describe(target)})"
        case TypeKind.CONSTANTARRAY if "struct __va_list_tag[" in spelling:
            return "__builtin_va_list"
        case TypeKind.CONSTANTARRAY:
            item = describe(ctype.get_array_element_type())
            return f"array[{ctype.get_array_size()}]({item})"
        case TypeKind.INCOMPLETEARRAY | TypeKind.VARIABLEARRAY:
            return f"array[]({describe(ctype.get_array_element_type())})"
        case TypeKind.FUNCTIONPROTO | TypeKind.FUNCTIONNOPROTO:
            returns, *parameters = _function(ctype)
            return f"function({returns}; {', '.join(parameters)})"
        case TypeKind.ENUM:
            return f"enum({ctype.get_size()})"
        case TypeKind.RECORD:
            declaration = ctype.get_declaration()
            is_union = declaration.kind == CursorKind.UNION_DECL
            keyword = "union" if is_union else "struct"
            name = re.sub(r"^(const |volatile )*", "", spelling)
            if name.startswith(f"{keyword} ") and "(" not in name:
                return name
            return f"{keyword}({max(ctype.get_size(), 0)})"
        case TypeKind.COMPLEX:
            return f"{describe(ctype.element_type)} _Complex"
    name = re.sub(r"^((const|volatile|restrict) )*", "", spelling)
    return NAMES.get(ctype.kind, name)


def _is_const(ctype: Type) -> bool:
    """Returns whether a type is const; of an array, its elements."""
    canonical = ctype.get_canonical()
    if canonical.kind not in (TypeKind.CONSTANTARRAY, TypeKind.INCOMPLETEARRAY):
        return bool(canonical.is_const_qualified())
    # libclang has the types of elements without their qualifiers.
    item = re.sub(r"(\[\d*\])+$", "", canonical.spelling)
    return item.endswith("const") or ("*" not in item and item.startswith("const "))

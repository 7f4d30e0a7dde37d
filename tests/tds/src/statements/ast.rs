//! What a statement says, before anything is looked up.

use crate::wire::{Isolation, Type, Value};

/// A name of up to four parts.
pub(crate) type Path = Vec<String>;

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    /// A constant.
    Literal(Value, Type),
    /// `@P1`
    Parameter(String),
    /// `@@DBTS`
    Global(String),
    /// `T.[id]`
    Column(Path),
    /// `f(..)`, with `COUNT(*)` and `COUNT(DISTINCT ..)`.
    Call {
        name: Path,
        args: Vec<Expr>,
        star: bool,
        distinct: bool,
    },
    /// `-x`
    Minus(Box<Expr>),
    /// `NOT x`
    Not(Box<Expr>),
    /// Arithmetic, comparison, AND and OR.
    Binary(Op, Box<Expr>, Box<Expr>),
    /// `x IS [NOT] NULL`
    IsNull(Box<Expr>, bool),
    /// `x [NOT] LIKE y [ESCAPE z]`
    Like {
        what: Box<Expr>,
        pattern: Box<Expr>,
        escape: Option<Box<Expr>>,
        not: bool,
    },
    /// `x [NOT] IN (..)`
    In(Box<Expr>, Vec<Expr>, bool),
    /// `x [NOT] IN (SELECT ..)`
    InQuery(Box<Expr>, Box<Query>, bool),
    /// `x [NOT] BETWEEN y AND z`
    Between(Box<Expr>, Box<Expr>, Box<Expr>, bool),
    /// `CASE ..`
    Case {
        of: Option<Box<Expr>>,
        whens: Vec<(Expr, Expr)>,
        other: Option<Box<Expr>>,
    },
    /// `CAST`, `TRY_CAST`, `CONVERT` and `TRY_CONVERT`
    Cast {
        what: Box<Expr>,
        to: Type,
        style: i32,
        lenient: bool,
    },
    /// `EXISTS (SELECT ..)`
    Exists(Box<Query>),
    /// `(SELECT ..)`
    Query(Box<Query>),
    /// `x COLLATE y`
    Collate(Box<Expr>, String),
    /// The first argument of `DATEPART` and its like: a word that is no column.
    Word(String),
}

/// What stands between two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Or,
    And,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    BitAnd,
    BitOr,
    BitXor,
}

impl Op {
    /// Its name in error messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Or => "OR",
            Self::And => "AND",
            Self::Eq => "equal to",
            Self::Ne => "not equal to",
            Self::Lt => "less than",
            Self::Le => "less than or equal to",
            Self::Gt => "greater than",
            Self::Ge => "greater than or equal to",
            Self::Add => "add",
            Self::Sub => "subtract",
            Self::Mul => "multiply",
            Self::Div => "divide",
            Self::Mod => "modulo",
            Self::BitAnd => "'&'",
            Self::BitOr => "'|'",
            Self::BitXor => "'^'",
        }
    }
}

/// What a SELECT gives.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    /// `*` or `t.*`
    Star(Option<String>),
    /// An expression and its name.
    Expr(Expr, Option<String>),
}

/// A SELECT, perhaps with others by UNION ALL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Query {
    pub(crate) selects: Vec<Select>,
    pub(crate) order: Vec<(Expr, bool)>,
    pub(crate) skip: Option<(Expr, Option<Expr>)>,
}

/// One SELECT.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Select {
    pub(crate) distinct: bool,
    pub(crate) top: Option<Expr>,
    pub(crate) ties: bool,
    pub(crate) items: Vec<Item>,
    pub(crate) from: Option<From>,
    pub(crate) filter: Option<Expr>,
    pub(crate) group: Vec<Expr>,
    pub(crate) having: Option<Expr>,
}

/// Where rows come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum From {
    /// A table or view.
    Table { path: Path, alias: Option<String> },
    /// `(SELECT ..) AS n`
    Query { query: Box<Query>, alias: String },
    /// A function that gives a table.
    Function {
        path: Path,
        args: Vec<Expr>,
        alias: Option<String>,
    },
    /// `CHANGETABLE(CHANGES t, v) AS a`
    Changes {
        path: Path,
        since: Expr,
        alias: String,
    },
    /// `CHANGETABLE(VERSION t, (k), (v)) AS a`
    Version {
        path: Path,
        columns: Vec<String>,
        values: Vec<Expr>,
        alias: String,
    },
    /// `(VALUES (..), (..)) AS v(a, b)`
    Values {
        rows: Vec<Vec<Expr>>,
        alias: String,
        columns: Vec<String>,
    },
    /// Two of them.
    Join {
        kind: Join,
        left: Box<From>,
        right: Box<From>,
        on: Option<Expr>,
    },
}

/// How two are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    Inner,
    Left,
    Cross,
    CrossApply,
    OuterApply,
}

/// A column in CREATE TABLE or ALTER TABLE ADD.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ColumnDef {
    pub(crate) name: String,
    pub(crate) kind: Type,
    pub(crate) rowversion: bool,
    pub(crate) collation: Option<String>,
    pub(crate) nullable: bool,
    pub(crate) identity: bool,
    pub(crate) computed: Option<Expr>,
    pub(crate) key: bool,
    pub(crate) unique: bool,
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Statement {
    Query(Query),
    /// `SET LOCK_TIMEOUT 5000` and others by name: kept, not acted on but for those known.
    Set(String, String),
    SetIsolation(Isolation),
    Begin,
    Commit,
    Rollback,
    If(Expr, Box<Statement>, Option<Box<Statement>>),
    Block(Vec<Statement>),
    Use(String),
    /// `DECLARE @x int = 1`
    Declare(String, Type, Option<Expr>),
    /// `SET @x = 1`
    Assign(String, Expr),
    Execute {
        path: Path,
        args: Vec<(Option<String>, Expr)>,
    },
    Insert {
        table: Path,
        columns: Vec<String>,
        rows: Vec<Vec<Expr>>,
    },
    Update {
        table: Path,
        set: Vec<(String, Expr)>,
        filter: Option<Expr>,
    },
    Delete {
        table: Path,
        filter: Option<Expr>,
    },
    Truncate(Path),
    CreateSchema(String),
    CreateTable {
        table: Path,
        columns: Vec<ColumnDef>,
        key: Vec<String>,
        unique: Vec<Vec<String>>,
    },
    CreateIndex {
        table: Path,
        name: String,
        columns: Vec<String>,
        unique: bool,
    },
    DropTable(Path),
    AlterTable(Path, Alter),
    AlterDatabase(Option<String>, AlterDatabase),
    /// `CREATE LOGIN`, `CREATE USER`: the name, and the password of a login.
    CreateUser {
        name: String,
        login: bool,
        password: Option<String>,
    },
    DropUser {
        name: String,
        login: bool,
    },
    /// `ALTER ROLE r ADD MEMBER u`, and DROP.
    Member {
        role: String,
        user: String,
        add: bool,
    },
    CreateRole(String),
    /// GRANT or REVOKE: permissions, on what, to whom.
    Grant {
        grant: bool,
        permissions: Vec<String>,
        on: On,
        to: Vec<String>,
    },
    Print(Expr),
}

/// What a permission is about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum On {
    /// The database or the server.
    Whole,
    Schema(String),
    Object(Path),
}

/// What ALTER TABLE does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Alter {
    Add(Vec<ColumnDef>),
    Drop(String),
    Column(ColumnDef),
    /// `ENABLE CHANGE_TRACKING`; whether columns are tracked.
    Track(bool),
    Untrack,
}

/// What ALTER DATABASE does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AlterDatabase {
    /// `ALLOW_SNAPSHOT_ISOLATION ON`
    Snapshot(bool),
    /// `READ_COMMITTED_SNAPSHOT ON`
    CommittedSnapshot(bool),
    /// `CHANGE_TRACKING = ON (..)`: retention in minutes and automatic clean-up, as far as said.
    Track(Option<i32>, Option<bool>),
    Untrack,
}

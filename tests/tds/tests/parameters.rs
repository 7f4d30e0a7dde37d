//! Parameters of every type arrive as they were sent.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests stop the test"
)]

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use tds_server::wire::{Answer, Length, Parameter, Server, Type, Value};
use tiberius::numeric::Numeric;
use tiberius::time::{Date, DateTime, DateTime2, DateTimeOffset, SmallDateTime, Time};
use tiberius::xml::XmlData;
use tiberius::{ColumnData, Query, ToSql, Uuid};

use crate::support::{self, connect, golden};

type Seen = Arc<Mutex<Vec<Parameter>>>;

/// A server that keeps the parameters of the last statement.
fn listening() -> (Server, Seen) {
    let seen = Seen::default();
    let keeps = seen.clone();
    let server = support::server(move |_, parameters| {
        *keeps.lock().unwrap() = parameters.to_vec();
        Answer::count(1)
    });
    (server, seen)
}

async fn sent(parameters: &[&dyn ToSql]) -> Vec<(String, Type, Value)> {
    let (server, seen) = listening();
    let mut client = connect(&server).await;
    client.execute("x", parameters).await.unwrap();
    assert_eq!(server.handle().complaints(), Vec::<String>::new());
    let seen = seen.lock().unwrap().clone();
    seen.into_iter()
        .map(|parameter| (parameter.name, parameter.kind, parameter.value))
        .collect()
}

async fn one(parameter: &dyn ToSql) -> (Type, Value) {
    let mut all = sent(&[parameter]).await;
    assert_eq!(all.len(), 1);
    let (name, kind, value) = all.remove(0);
    assert_eq!(name, "@P1");
    (kind, value)
}

#[tokio::test]
async fn numbers_arrive() {
    assert_eq!(one(&true).await, (Type::Bit, Value::Bit(true)));
    assert_eq!(one(&u8::MAX).await, (Type::TinyInt, u8::MAX.into()));
    assert_eq!(one(&i16::MIN).await, (Type::SmallInt, i16::MIN.into()));
    assert_eq!(one(&i32::MIN).await, (Type::Int, i32::MIN.into()));
    assert_eq!(one(&i64::MAX).await, (Type::BigInt, i64::MAX.into()));
    assert_eq!(one(&f32::MIN).await, (Type::Real, f32::MIN.into()));
    assert_eq!(one(&f64::MAX).await, (Type::Float, f64::MAX.into()));
    for (digits, scale, precision) in [
        (0, 0, 1),
        (-12_345, 2, 5),
        (10_i128.pow(38) - 1, 0, 38),
        (1 - 10_i128.pow(38), 37, 38),
    ] {
        let number = Numeric::new_with_scale(digits, scale);
        let (kind, value) = one(&number).await;
        assert_eq!(value, Value::Decimal(digits));
        assert_eq!(kind, Type::Numeric(precision, scale));
    }
}

#[tokio::test]
async fn texts_and_bytes_arrive() {
    for text in ["", "ž 😀", &"ж".repeat(4000), &"long ".repeat(50_000)] {
        let (kind, value) = one(&text).await;
        assert_eq!(value, Value::text(text));
        assert!(matches!(kind, Type::NVarChar(_)), "{kind:?}");
    }
    for bytes in [&[][..], &[0, 1, 0xFF], &vec![7; 8000], &vec![8; 200_000]] {
        let (kind, value) = one(&bytes).await;
        assert_eq!(value, Value::bytes(bytes));
        let length = if bytes.len() > 8000 {
            Length::Max
        } else {
            Length::Of(8000)
        };
        assert_eq!(kind, Type::VarBinary(length));
    }
    let guid = Uuid::parse_str("00112233-4455-6677-8899-aabbccddeeff").unwrap();
    assert_eq!(
        one(&guid).await,
        (Type::UniqueIdentifier, Value::Guid(*guid.as_bytes()))
    );
    assert_eq!(
        one(&XmlData::new("<a>ž</a>")).await,
        (Type::Xml, Value::text("<a>ž</a>"))
    );
}

/// A parameter that is already what tiberius makes of one.
struct Ready(ColumnData<'static>);

impl ToSql for Ready {
    fn to_sql(&self) -> ColumnData<'_> {
        self.0.clone()
    }
}

#[tokio::test]
async fn times_arrive() {
    let (kind, value) = one(&Ready(ColumnData::DateTime(Some(DateTime::new(
        -53_690, 299,
    )))))
    .await;
    assert_eq!(
        (kind, value),
        (
            Type::DateTime,
            Value::DateTime {
                days: -53_690,
                ticks: 299
            }
        )
    );
    let small = ColumnData::SmallDateTime(Some(SmallDateTime::new(65_535, 1439)));
    let expected = Value::SmallDateTime {
        days: 65_535,
        minutes: 1439,
    };
    assert_eq!(one(&Ready(small)).await, (Type::SmallDateTime, expected));
    let days = golden::LAST_DAY;
    let date = Date::new(days);
    assert_eq!(
        one(&Ready(ColumnData::Date(Some(date)))).await,
        (Type::Date, Value::Date(days))
    );
    for scale in 0..=7 {
        let unit = 10_u64.pow(u32::from(7 - scale));
        let ticks = golden::DAY - unit;
        let time = Time::new(ticks / unit, scale);
        assert_eq!(
            one(&Ready(ColumnData::Time(Some(time)))).await,
            (Type::Time(scale), Value::Time(ticks))
        );
        let both = DateTime2::new(date, time);
        assert_eq!(
            one(&Ready(ColumnData::DateTime2(Some(both)))).await,
            (Type::DateTime2(scale), Value::DateTime2 { days, ticks })
        );
        let all = DateTimeOffset::new(both, -840);
        assert_eq!(
            one(&Ready(ColumnData::DateTimeOffset(Some(all)))).await,
            (
                Type::DateTimeOffset(scale),
                Value::DateTimeOffset {
                    days,
                    ticks,
                    offset_minutes: -840
                }
            )
        );
    }
}

#[tokio::test]
async fn null_arrives_and_many_keep_their_order() {
    assert_eq!(one(&None::<i32>).await.1, Value::Null);
    assert_eq!(one(&None::<&str>).await.1, Value::Null);
    assert_eq!(one(&None::<&[u8]>).await.1, Value::Null);
    assert_eq!(one(&Ready(ColumnData::Date(None))).await.1, Value::Null);
    let numbers: Vec<i32> = (0..2000).collect();
    let parameters: Vec<&dyn ToSql> = numbers.iter().map(|number| number as &dyn ToSql).collect();
    let seen = sent(&parameters).await;
    assert_eq!(seen.len(), 2000);
    for (at, (name, _, value)) in seen.into_iter().enumerate() {
        assert_eq!(name, format!("@P{}", at + 1));
        assert_eq!(value, Value::Int(i32::try_from(at).unwrap()));
    }
}

#[tokio::test]
async fn a_statement_in_several_packets_arrives_whole() {
    let (server, seen) = listening();
    let mut client = connect(&server).await;
    let sql = format!("SELECT '{}'", "ž".repeat(100_000));
    let mut query = Query::new(sql.clone());
    query.bind(Cow::Borrowed("a"));
    query.execute(&mut client).await.unwrap();
    assert_eq!(seen.lock().unwrap()[0].value, Value::text("a"));
    client
        .simple_query(sql.clone())
        .await
        .unwrap()
        .into_results()
        .await
        .unwrap();
    assert_eq!(
        server.handle().statements().into_iter().collect::<Vec<_>>(),
        [sql]
    );
}

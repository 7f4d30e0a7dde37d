"""Reads results through Microsoft's ODBC driver and prints each value in one exact form.

usage: odbc.py <connection string> < statements, one a line
A line that begins with = is an expression, whose value is sent as a parameter.
"""

import datetime
import decimal
import struct
import sys
import uuid  # for expressions too

import mssql_python


def micros(time):
    return ((time.hour * 60 + time.minute) * 60 + time.second) * 1_000_000 + time.microsecond


def exact(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"bit {int(value)}"
    if isinstance(value, int):
        return f"int {value}"
    if isinstance(value, float):
        return f"float {struct.pack('>d', value).hex()}"
    if isinstance(value, decimal.Decimal):
        return f"decimal {value:f}"
    if isinstance(value, (bytes, bytearray)):
        return f"bytes {bytes(value).hex()}"
    if isinstance(value, str):
        return f"text {value.encode('utf-8', 'surrogatepass').hex()}"
    if isinstance(value, uuid.UUID):
        return f"guid {value.bytes.hex()}"
    if isinstance(value, datetime.datetime):
        zone = value.utcoffset()
        day = value.toordinal() - 1
        if zone is None:
            return f"datetime {day} {micros(value.time())}"
        local = day * 86_400_000_000 + micros(value.time())
        utc = local - zone // datetime.timedelta(microseconds=1)
        day, time = divmod(utc, 86_400_000_000)
        return f"datetimeoffset {day} {time} {zone // datetime.timedelta(minutes=1)}"
    if isinstance(value, datetime.date):
        return f"date {value.toordinal() - 1}"
    if isinstance(value, datetime.time):
        return f"time {micros(value)}"
    return f"{type(value).__name__} {value!r}"


def main():
    connection = mssql_python.connect(sys.argv[1])
    for line in sys.stdin:
        statement = line.rstrip("\n")
        cursor = connection.cursor()
        try:
            if statement.startswith("="):
                cursor.execute("SELECT ?", (eval(statement[1:]),))
            else:
                cursor.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
        except Exception as error:  # what it is called is the driver's own affair
            print(f"{statement}\terror {error}".replace("\n", " "))
            continue
        for row in rows:
            print("\t".join([statement, *(exact(value) for value in row)]))
    connection.close()


main()

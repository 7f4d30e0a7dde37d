// Reads SQL texts, one a file, with Microsoft's own parsers of T-SQL: as the oldest server that the source
// supports reads them, and as the newest that this parser knows.
//
//   mono parse.exe FOLDER
//
// Prints each text that is not understood with what was said of it, then "N texts, N failed".
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using Microsoft.SqlServer.TransactSql.ScriptDom;

static class Parse
{
    // Names, not numbers of versions: what a person knows a server by.
    static readonly Dictionary<string, TSqlParser> Parsers = new Dictionary<string, TSqlParser>
    {
        { "SQL Server 2012", new TSql110Parser(true) },
        { "SQL Server 2019", new TSql150Parser(true) },
    };

    static int Main(string[] args)
    {
        if (args.Length != 1 || !Directory.Exists(args[0]))
        {
            Console.Error.WriteLine("usage: parse FOLDER");
            return 2;
        }
        var files = Directory.GetFiles(args[0], "*.sql").OrderBy(file => file, StringComparer.Ordinal);
        int texts = 0, failed = 0;
        foreach (var file in files)
        {
            texts += 1;
            var text = File.ReadAllText(file);
            var said = Parsers.SelectMany(parser => Errors(parser.Key, parser.Value, text)).ToList();
            if (said.Count == 0) continue;
            failed += 1;
            Console.WriteLine("not T-SQL: " + Path.GetFileName(file));
            Console.WriteLine("  " + text.Replace("\n", "\n  "));
            foreach (var line in said) Console.WriteLine("  -> " + line);
        }
        Console.WriteLine(texts + " texts, " + failed + " failed");
        return failed == 0 ? 0 : 1;
    }

    static IEnumerable<string> Errors(string server, TSqlParser parser, string text)
    {
        IList<ParseError> errors;
        TSqlFragment found;
        using (var reader = new StringReader(text)) found = parser.Parse(reader, out errors);
        foreach (var error in errors)
            yield return server + ": " + error.Message + " (line " + error.Line + ", column " + error.Column + ")";
        // A text of comments alone is understood, and says nothing to a server.
        var script = found as TSqlScript;
        if (errors.Count == 0 && (script == null || script.Batches.Count == 0))
            yield return server + ": there is no statement in it";
    }
}

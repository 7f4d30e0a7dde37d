/*
 * Runs a command in a console of its own and presses a key of it when a file appears, as a person at the console would:
 *     stopped.exe c|break FILE PROGRAM ARGUMENTS..
 * Ends as the program does. For tests: it is part of no package.
 */
#include <stdio.h>
#include <string.h>
#include <windows.h>

static BOOL WINAPI not_us(DWORD key) {
    (void)key;
    return TRUE;
}

int main(int argc, char **argv) {
    char line[8192] = "";
    PROCESS_INFORMATION process;
    STARTUPINFOA start = {.cb = sizeof start};
    DWORD code = 125, key;
    int n;
    if (argc < 4) return 126;
    key = strcmp(argv[1], "break") == 0 ? CTRL_BREAK_EVENT : CTRL_C_EVENT;
    for (n = 3; n < argc; n++) {
        if (strlen(line) + strlen(argv[n]) + 4 > sizeof line) return 126;
        strcat(strcat(strcat(line, "\""), argv[n]), "\" ");
    }
    SetConsoleCtrlHandler(not_us, TRUE);
    start.dwFlags = STARTF_USESTDHANDLES;
    start.hStdInput = GetStdHandle(STD_INPUT_HANDLE);
    start.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    start.hStdError = GetStdHandle(STD_ERROR_HANDLE);
    if (!CreateProcessA(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &start, &process)) {
        fprintf(stderr, "start %s: error %lu\n", line, GetLastError());
        return 126;
    }
    while (GetFileAttributesA(argv[2]) == INVALID_FILE_ATTRIBUTES) {
        if (WaitForSingleObject(process.hProcess, 50) == WAIT_OBJECT_0) break;
    }
    if (!GenerateConsoleCtrlEvent(key, 0)) fprintf(stderr, "press the key: error %lu\n", GetLastError());
    if (WaitForSingleObject(process.hProcess, 30000) != WAIT_OBJECT_0) TerminateProcess(process.hProcess, 124);
    GetExitCodeProcess(process.hProcess, &code);
    return (int)code;
}

/*
 * Runs a command, and presses Ctrl-C at its console when a file appears, as a person would:
 *     stopped.exe FILE PROGRAM ARGUMENTS..
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
    DWORD code = 125;
    int n;
    if (argc < 3) return 126;
    for (n = 2; n < argc; n++) {
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
    while (GetFileAttributesA(argv[1]) == INVALID_FILE_ATTRIBUTES) {
        if (WaitForSingleObject(process.hProcess, 50) == WAIT_OBJECT_0) break;
    }
    if (!GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0)) fprintf(stderr, "press Ctrl-C: error %lu\n", GetLastError());
    if (WaitForSingleObject(process.hProcess, 30000) != WAIT_OBJECT_0) TerminateProcess(process.hProcess, 124);
    GetExitCodeProcess(process.hProcess, &code);
    return (int)code;
}

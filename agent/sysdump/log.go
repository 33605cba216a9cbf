package sysdump

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	api "weir/api/agent"
)

// logTail is how much of the end of a log file is read.
const logTail = 4 << 20

// fileLog is what of a log file could be read.
type fileLog struct {
	Lines  []api.LogLine `json:"lines"`
	LeftIn int           `json:"linesLeftOut"` // of another form, such as a panic
}

// logFile reads the end of a log that an agent has written, for when there is no
// agent to ask.
func logFile(path string) (any, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if s, err := f.Stat(); err == nil && s.Size() > logTail {
		if _, err := f.Seek(-logTail, io.SeekEnd); err != nil {
			return nil, fmt.Errorf("read the end of %s: %w", path, err)
		}
	}
	return readLog(f)
}

func readLog(r io.Reader) (fileLog, error) {
	out := fileLog{Lines: []api.LogLine{}}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, logTail)
	for lines.Scan() {
		if l, ok := parse(lines.Text()); ok {
			out.Lines = append(out.Lines, message(l))
		} else {
			out.LeftIn++
		}
	}
	return out, lines.Err()
}

// parse reads a line as slog.TextHandler writes it: key=value, quoted where need be.
func parse(line string) (api.LogLine, bool) {
	l := api.LogLine{Attributes: map[string]string{}}
	for rest := line; rest != ""; {
		key, value, ok := strings.Cut(rest, "=")
		if !ok || strings.ContainsAny(key, " \"") {
			return l, false
		}
		if strings.HasPrefix(value, `"`) {
			quoted, err := strconv.QuotedPrefix(value)
			if err != nil {
				return l, false
			}
			rest = value[len(quoted):]
			value, _ = strconv.Unquote(quoted)
		} else {
			value, rest, _ = strings.Cut(value, " ")
		}
		rest = strings.TrimPrefix(rest, " ")
		switch key {
		case "time":
			l.Time, _ = time.Parse(time.RFC3339Nano, value)
		case "level":
			l.Level = value
		case "msg":
			l.Message = value
		default:
			l.Attributes[key] = value
		}
	}
	return l, l.Level != "" && !l.Time.IsZero()
}

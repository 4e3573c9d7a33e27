package show

import (
	"io"
	"strings"
)

// Column is one of a Table.
type Column struct {
	Heading string
	Least   int  // columns of the terminal that it keeps when the table is too wide
	Right   bool // numbers
	Middle  bool // what is too long is cut in the middle: names differ at their ends
	Drop    int  // where there is no room for all, those with the highest go first; 0: it stays
}

// Table is lines with columns below headings. Cells are plain text.
type Table struct {
	Columns []Column
	Rows    [][]string
	// Paint styles the cell of a row below a heading, which has its width already; nil: none is styled.
	Paint func(row int, heading, cell string) string
}

const gap = "  "

// widths are those of the columns in a line of so many columns of the terminal; 0: there is no room for it. What is too
// wide is taken from the widest first.
func (t *Table) widths(limit int) []int {
	out := make([]int, len(t.Columns))
	sum, least := -len(gap), -len(gap)
	for i, c := range t.Columns {
		out[i] = Columns(c.Heading)
		for _, r := range t.Rows {
			out[i] = max(out[i], Columns(r[i]))
		}
		sum += out[i] + len(gap)
		least += min(out[i], c.Least) + len(gap)
	}
	for least > limit {
		next := -1
		for i, c := range t.Columns {
			if out[i] > 0 && c.Drop > 0 && (next < 0 || c.Drop > t.Columns[next].Drop) {
				next = i
			}
		}
		if next < 0 {
			break
		}
		sum -= out[next] + len(gap)
		least -= min(out[next], t.Columns[next].Least) + len(gap)
		out[next] = 0
	}
	for ; sum > limit; sum-- {
		widest := -1
		for i, c := range t.Columns {
			if out[i] > max(c.Least, 1) && (widest < 0 || out[i] > out[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		out[widest]--
	}
	return out
}

// Lines are the headings and the rows, in at most so many columns of the terminal.
func (t *Table) Lines(limit int) []string {
	widths := t.widths(limit)
	line := func(row int, cells []string) string {
		var b strings.Builder
		for i, cell := range cells {
			if widths[i] == 0 {
				continue
			}
			if b.Len() > 0 {
				b.WriteString(gap)
			}
			if t.Columns[i].Middle {
				cell = CutMiddle(cell, widths[i])
			}
			text := Fit(cell, widths[i])
			switch {
			case t.Columns[i].Right:
				text = strings.Repeat(" ", widths[i]-Columns(Cut(cell, widths[i]))) + Cut(cell, widths[i])
			case i == len(cells)-1:
				text = Cut(cell, widths[i])
			}
			if t.Paint != nil && row >= 0 {
				text = t.Paint(row, t.Columns[i].Heading, text)
			}
			b.WriteString(text)
		}
		return strings.TrimRight(b.String(), " ")
	}
	var headings []string
	for _, c := range t.Columns {
		headings = append(headings, c.Heading)
	}
	out := []string{line(-1, headings)}
	for i, r := range t.Rows {
		out = append(out, line(i, r))
	}
	return out
}

// With are the lines of a table with a text behind each. What has no room there is wrapped, on lines of its own.
func (t *Table) With(texts []string, limit int) []string {
	rows := t.Lines(limit)
	long := 0
	for _, r := range rows {
		long = max(long, Columns(r))
	}
	var out []string
	for i, r := range rows {
		text := texts[i]
		if long+len(gap)+Columns(text) <= limit {
			out = append(out, Fit(r, long)+gap+text)
			continue
		}
		out = append(out, r)
		out = append(out, Wrap("  "+text, limit, 4)...)
	}
	return out
}

// Write writes lines.
func Write(w io.Writer, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	_, err := io.WriteString(w, strings.Join(lines, "\n")+"\n")
	return err
}

package config

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// modelKey is a key in a section of the model, with a value in YAML that JSON reads just so.
type modelKey struct{ name, value string }

// modelKeys say of each kind which values of a key are right, and where the fault of each other is, below the section. A key that is not listed
// is none of the kind.
var modelKeys = map[string]map[modelKey]string{
	"circle": {
		{"radius", `7`}: "", {"radius", `"x"`}: "radius", {"radius", `0`}: "radius",
		{"label", `"l"`}: "", {"label", `5`}: "label",
		{"paint", `{"color":"blue"}`}: "", {"paint", `{"color":"green"}`}: "paint.color", {"paint", `[]`}: "paint", {"paint", `{"side":1}`}: "paint.side",
	},
	"square": {
		{"side", `"5s"`}: "", {"side", `5`}: "side",
		{"label", `"l"`}: "", {"label", `5`}: "label",
	},
}

var modelValues = map[string][]string{
	"radius": {`7`, `"x"`, `0`}, "label": {`"l"`, `5`}, "side": {`"5s"`, `5`}, "paint": {`{"color":"blue"}`, `{"color":"green"}`, `[]`, `{"side":1}`}, "zzz": {`1`},
}

type modelSection struct {
	name, kind string // kind is empty if the section says none
	keys       []modelKey
}

// faults are the lines and paths of what is wrong, if each key stands in a line of its own. Of a name that is given several times nothing else is said.
func (m modelSection) faults(line int, again, several bool) []string {
	path := "shapes[" + m.name + "]"
	if again {
		return []string{fmt.Sprint(line, path)}
	}
	var out []string
	if strings.HasPrefix(m.name, "bad") && !several {
		out = append(out, fmt.Sprint(line, path))
	}
	keys, known := modelKeys[m.kind]
	if m.kind != "" {
		line++
	}
	if !known {
		return append(out, fmt.Sprint(line, path+".type"))
	}
	for i, k := range m.keys {
		if below, ok := keys[k]; !ok {
			out = append(out, fmt.Sprint(line+1+i, path+"."+k.name))
		} else if below != "" {
			out = append(out, fmt.Sprint(line+1+i, path+"."+below))
		}
	}
	return out
}

// shape is what a section without a fault holds.
func (m modelSection) shape() sampleShape {
	circle, square := &sampleCircle{Radius: 5, Paint: samplePaint{Color: "red", Layers: []string{"a", "b"}}}, &sampleSquare{Side: time.Minute}
	for _, k := range m.keys {
		switch k.name {
		case "radius":
			circle.Radius = 7
		case "label":
			circle.Label, square.Label = "l", "l"
		case "side":
			square.Side = 5 * time.Second
		case "paint":
			circle.Paint.Color = "blue"
		}
	}
	if m.kind == "circle" {
		return circle
	}
	return square
}

func drawSection(t *rapid.T) modelSection {
	m := modelSection{
		name: rapid.OneOf(rapid.StringOfN(rapid.RuneFrom([]rune("ab.[]*{}?:#")), 1, 4, -1), rapid.SampledFrom([]string{"bad", "bad.[", "type"})).Draw(t, "name"),
		kind: rapid.SampledFrom([]string{"circle", "square", "circle", "square", "hexagon", ""}).Draw(t, "kind"),
	}
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"radius", "label", "side", "paint", "zzz"}), 0, 3, rapid.ID).Draw(t, "keys") {
		m.keys = append(m.keys, modelKey{name, rapid.SampledFrom(modelValues[name]).Draw(t, name)})
	}
	return m
}

// Whatever sections there are, under whatever names: the file, the variable and JSON say the same, which is what the model says.
func TestNamedAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sections := rapid.SliceOfN(rapid.Custom(drawSection), 0, 5).Draw(t, "sections")
		var file strings.Builder
		var members, want []string
		shapes := sampleShapes{}
		line := 2 // the first is `shapes:`
		times := map[string]int{}
		for _, m := range sections {
			times[m.name]++
		}
		for _, m := range sections {
			_, again := shapes[m.name]
			want = append(want, m.faults(line, again, times[m.name] > 1)...)
			if !again {
				shapes[m.name] = m.shape()
			}
			keys := m.keys
			if m.kind != "" {
				keys = append([]modelKey{{"type", `"` + m.kind + `"`}}, keys...)
			}
			name, err := json.Marshal(m.name)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&file, "  %s:\n", name)
			line += 1 + len(keys)
			var inner []string
			for _, k := range keys {
				fmt.Fprintf(&file, "    %s: %s\n", k.name, k.value)
				inner = append(inner, fmt.Sprintf("%q:%s", k.name, k.value))
			}
			members = append(members, fmt.Sprintf("%s:{%s}", name, strings.Join(inner, ",")))
		}
		object := "{" + strings.Join(members, ",") + "}"
		if len(sections) == 0 {
			file.WriteString("  {}\n")
		}
		root, faults := fromJSON([]byte(`{"shapes":` + object + `}`))
		if faults != nil {
			t.Fatal(faults)
		}
		merged := sampleDefaults()
		inFile, inVariable := sampleDefaults(), sampleDefaults()
		slices.Sort(want)
		check := func(source string, got *sample, faults Faults, withLines bool) {
			t.Helper()
			var said []string
			for _, f := range faults {
				said = append(said, fmt.Sprint(f.Place.Line, f.Path))
			}
			expected := slices.Clone(want)
			if !withLines {
				for _, list := range [][]string{said, expected} {
					for i, s := range list {
						list[i] = strings.TrimLeft(s, "0123456789")
					}
				}
			}
			slices.Sort(said)
			slices.Sort(expected)
			if !slices.Equal(said, expected) {
				t.Fatalf("%s: got %q, want %q:\n%s%v", source, said, expected, file.String(), faults)
			}
			if diff := cmp.Diff(shapes, got.Shapes); diff != "" && len(want) == 0 {
				t.Fatalf("%s: -want +got:\n%s", source, diff)
			}
		}
		check("file", inFile, parseYAML(inFile, "f", []byte("shapes:\n"+file.String()), nil), true)
		check("variable", inVariable, parseYAML(inVariable, "f", nil, []string{"TOCSIN_SHAPES=" + object}), false)
		check("JSON", merged, parse(merged, "", root, nil), false)
	})
}

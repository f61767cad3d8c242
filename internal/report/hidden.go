package report

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// Hides reports whether T has fields whose values are shown to nobody.
func Hides[T any]() bool { return len(hidden(reflect.TypeFor[T]())) > 0 }

// hidden returns the names, as they are encoded, of the fields in t that are tagged as in
//
//	Token string `cookiesession:"hidden"`
//
// and of those that have such a field in them. The types above are those that t is in.
func hidden(t reflect.Type, above ...reflect.Type) (names []string) {
	if slices.Contains(above, t) {
		return nil
	}
	above = append(above, t)
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return hidden(t.Elem(), above...)
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(t) {
			name, _, _ := strings.Cut(cmp.Or(f.Tag.Get("cbor"), f.Tag.Get("json")), ",")
			isFlat := f.Anonymous && name == "" // its fields are visible ones as well
			if isHidden(f) || isHidden(t.Field(f.Index[0])) ||
				!isFlat && len(hidden(f.Type, above...)) > 0 {
				names = append(names, cmp.Or(name, f.Name))
			}
		}
	}
	return names
}

func isHidden(f reflect.StructField) bool { return f.Tag.Get("cookiesession") == "hidden" }

// deterministic is how the library encodes.
var deterministic, _ = cbor.CoreDetEncOptions().EncMode() // these options are good

// hide replaces the values of the fields with these names by their sizes.
func (p *payload) hide(names []string) {
	for name, value := range p.data {
		same := func(hidden string) bool { return strings.EqualFold(hidden, fmt.Sprint(name)) }
		if slices.ContainsFunc(names, same) { // CBOR is read without regard to case
			p.data[name], _ = cbor.Marshal(fmt.Sprintf("hidden, %d bytes", len(value)))
			p.elements[2], _ = deterministic.Marshal(p.data)
		}
	}
}

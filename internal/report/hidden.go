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
func Hides[T any]() bool { return len(hidden[T]()) > 0 }

// hidden returns the names, as they are encoded, of the fields of T that are tagged as in
//
//	Token string `cookiesession:"hidden"`
//
// and of those that have such a field in them.
func hidden[T any]() (names []string) {
	t := reflect.TypeFor[T]()
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(cmp.Or(f.Tag.Get("cbor"), f.Tag.Get("json")), ",")
		isFlat := f.Anonymous && name == "" // its fields are visible ones as well
		if isHidden(f) || isHidden(t.Field(f.Index[0])) || !isFlat && hides(f.Type) {
			names = append(names, cmp.Or(name, f.Name))
		}
	}
	return names
}

func isHidden(f reflect.StructField) bool { return f.Tag.Get("cookiesession") == "hidden" }

// hides reports whether what is of type t, in what is of the types above, may have a
// hidden field in it.
func hides(t reflect.Type, above ...reflect.Type) bool {
	if slices.Contains(above, t) {
		return false
	}
	above = append(above, t)
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return hides(t.Elem(), above...)
	case reflect.Struct:
		return slices.ContainsFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool {
			return isHidden(f) || hides(f.Type, above...)
		})
	}
	return false
}

// deterministic is how the library encodes.
var deterministic, _ = cbor.CoreDetEncOptions().EncMode() // these options are good

// hide replaces the values of the fields with these names by their sizes.
func (p *payload) hide(names []string) {
	for name, value := range p.data {
		if slices.Contains(names, fmt.Sprint(name)) {
			p.data[name], _ = cbor.Marshal(fmt.Sprintf("hidden, %d bytes", len(value)))
			p.elements[2], _ = deterministic.Marshal(p.data)
		}
	}
}

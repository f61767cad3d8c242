package report

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// hidden returns the fields of T whose values are shown to nobody, such as
//
//	Token string `cookiesession:"hidden"`
//
// and those that have such a field in them.
func hidden[T any]() (fields []reflect.StructField) {
	t := reflect.TypeFor[T]()
	for _, f := range reflect.VisibleFields(t) {
		isFlat := f.Anonymous && f.Tag.Get("cbor")+f.Tag.Get("json") == ""
		if isHidden(t.Field(f.Index[0])) || !isFlat && hides(f.Type, nil) || isHidden(f) {
			fields = append(fields, f)
		}
	}
	return fields
}

func isHidden(f reflect.StructField) bool { return f.Tag.Get("cookiesession") == "hidden" }

// hides reports whether what is of type t, within those of the types above, may have a
// hidden field in it.
func hides(t reflect.Type, above []reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return hides(t.Elem(), above)
	case reflect.Struct:
		if slices.Contains(above, t) {
			return false
		}
		for i := range t.NumField() {
			if f := t.Field(i); isHidden(f) || hides(f.Type, append(above, t)) {
				return true
			}
		}
	}
	return false
}

// deterministic is how the library encodes.
var deterministic, _ = cbor.CoreDetEncOptions().EncMode() // these options are good

// hide replaces the values of fields by their size.
func (p *payload) hide(fields []reflect.StructField) {
	for name, value := range p.data {
		for _, f := range fields {
			own, _, _ := strings.Cut(cmp.Or(f.Tag.Get("cbor"), f.Tag.Get("json")), ",")
			if fmt.Sprint(name) == cmp.Or(own, f.Name) {
				size := fmt.Sprintf("hidden, %d bytes", len(value))
				p.data[name], _ = cbor.Marshal(size) // text can be encoded
			}
		}
	}
	if len(fields) > 0 {
		p.elements[2], _ = deterministic.Marshal(p.data)
	}
}

// Masked returns data without what is in hidden fields.
func Masked[T any](data T) T {
	v := reflect.ValueOf(&data).Elem()
	for _, f := range hidden[T]() {
		// All of an embedded struct goes, unless it can't be set: its pointer isn't followed.
		field := v.Field(f.Index[0])
		if !field.CanSet() {
			field = v.FieldByIndex(f.Index)
		}
		if field.CanSet() {
			field.SetZero()
		}
	}
	return data
}

package sessions

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// checkType returns an error if a session of type t could not be read back as it was.
// It says which field is the reason.
func checkType(t reflect.Type) error {
	if t.Kind() != reflect.Struct {
		return fmt.Errorf("sessions: the type of a session must be a struct, not %v", t)
	}
	return checkPart(t, t.String(), make(map[reflect.Type]bool))
}

// checkPart checks a type that stands at a place within a session.
func checkPart(t reflect.Type, place string, seen map[reflect.Type]bool) error {
	if seen[t] || marshalsItself(t) {
		return nil
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return fmt.Errorf("sessions: %s is an interface: "+
			"what is in it would come back as another type", place)
	case reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Complex64, reflect.Complex128:
		return fmt.Errorf("sessions: %s is a %v, which a cookie can't carry", place, t.Kind())
	case reflect.Map:
		if err := checkPart(t.Key(), place+"'s keys", seen); err != nil {
			return err
		}
		return checkPart(t.Elem(), place+"[]", seen)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return checkPart(t.Elem(), place, seen)
	case reflect.Struct:
		return checkFields(t, place, seen)
	}
	return nil
}

func checkFields(t reflect.Type, place string, seen map[reflect.Type]bool) error {
	for f := range structFields(t) {
		at := place + "." + f.Name
		// The exported fields of an embedded struct count as the outer one's.
		if !f.IsExported() && !(f.Anonymous && f.Type.Kind() == reflect.Struct) {
			return fmt.Errorf("sessions: %s is not exported, so it would be lost: "+
				"begin it with a capital letter, or tag it `cbor:\"-\"`", at)
		}
		if err := checkPart(f.Type, at, seen); err != nil {
			return err
		}
	}
	return nil
}

// structFields yields the fields of a struct that are not left out by their tags.
func structFields(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Name != "_" && fieldTag(f) != "-" && !yield(f) {
				return
			}
		}
	}
}

// fieldTag returns the tag that the CBOR library goes by.
func fieldTag(f reflect.StructField) string {
	if tag, ok := f.Tag.Lookup("cbor"); ok {
		return tag
	}
	return f.Tag.Get("json")
}

// fieldNames adds the names under which the fields of t are encoded, as they are encoded.
func fieldNames(t reflect.Type, names map[rawKey]bool) {
	for f := range structFields(t) {
		name, options, _ := strings.Cut(fieldTag(f), ",")
		if f.Anonymous && name == "" {
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				fieldNames(inner, names)
				continue
			}
		}
		if n, err := strconv.Atoi(name); err == nil && strings.Contains(options, "keyasint") {
			names[encodedKey(n)] = true
			continue
		}
		if name == "" {
			name = f.Name
		}
		names[encodedKey(name)] = true
	}
}

func encodedKey(name any) rawKey { return rawKey(must(encodingMode.Marshal(name))) }

var marshalers = []reflect.Type{
	reflect.TypeFor[cbor.Marshaler](), reflect.TypeFor[encoding.BinaryMarshaler](),
	reflect.TypeFor[encoding.TextMarshaler](),
}

// marshalsItself reports whether what is in a value of type t is its own matter.
func marshalsItself(t reflect.Type) bool {
	for _, m := range marshalers {
		if t.Implements(m) || reflect.PointerTo(t).Implements(m) {
			return t.Kind() != reflect.Interface
		}
	}
	return false
}

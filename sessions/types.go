package sessions

import (
	"cmp"
	"encoding"
	"fmt"
	"reflect"

	"github.com/fxamacker/cbor/v2"
)

// checkType returns an error if what is of type t, at a place within a session, could
// not be read back as it was. It has seen the types that contain t.
func checkType(t reflect.Type, place string, seen map[reflect.Type]bool) error {
	if seen[t] || marshalsItself(t) {
		return nil
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return fmt.Errorf("%s is an interface: what is in it comes back as another type", place)
	case reflect.Chan, reflect.Func, reflect.Uintptr, reflect.UnsafePointer,
		reflect.Complex64, reflect.Complex128:
		return fmt.Errorf("%s is a %v, which a cookie can't carry", place, t.Kind())
	case reflect.Map:
		return cmp.Or(checkType(t.Key(), place+"'s keys", seen), checkType(t.Elem(), place, seen))
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return checkType(t.Elem(), place, seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if err := checkField(t.Field(i), place, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkField is checkType for a field of the struct that stands at a place.
func checkField(f reflect.StructField, place string, seen map[reflect.Type]bool) error {
	tag := cmp.Or(f.Tag.Get("cbor"), f.Tag.Get("json")) // as the CBOR library goes by them
	place += "." + f.Name
	switch {
	case tag == "-" || f.Name == "_": // it is left out
		return nil
	case !f.IsExported() && !(f.Anonymous && f.Type.Kind() == reflect.Struct):
		// The exported fields of an embedded struct count as the outer one's.
		return fmt.Errorf("%s is not exported, so it would be lost: "+
			"begin it with a capital letter, or tag it `cbor:\"-\"`", place)
	}
	return checkType(f.Type, place, seen)
}

// marshalsItself reports whether what is in a value of type t is its own matter.
func marshalsItself(t reflect.Type) bool {
	switch reflect.New(t).Interface().(type) { // a pointer has all methods
	case cbor.Marshaler, encoding.BinaryMarshaler, encoding.TextMarshaler:
		return true
	}
	return false
}

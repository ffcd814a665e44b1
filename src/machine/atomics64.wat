;; Atomic operations on shared memory, cheaper than the calls behind JavaScript's `Atomics`.
;;
;; 64-bit words travel as two 32-bit halves, because a BigInt costs an allocation. A function returns one value to
;; JavaScript without allocating: the old value of a 64-bit word is left in two globals of this instance (one instance a
;; thread, so they are private) and fetched with seenLo and seenHi; all but cas64, which says whether it exchanged, return
;; the low half as well, which is often all that is wanted. Joining and splitting are spelled out in each
;; function, because the engine does not inline calls within a module, and a call costs as much as the operation.
;;
;; Addresses are byte offsets. All accesses are sequentially consistent.
(module
  (import "env" "memory" (memory 1 65536 shared))

  (global $lo (mut i32) (i32.const 0))
  (global $hi (mut i32) (i32.const 0))

  ;; The halves of the old value that the last 64-bit operation of this thread saw.
  (func (export "seenLo") (result i32) (global.get $lo))
  (func (export "seenHi") (result i32) (global.get $hi))

  ;; Exchanges if the word holds the expected value. 1 on success, 0 otherwise.
  (func (export "cas64")
    (param $at i32) (param $expectedLo i32) (param $expectedHi i32) (param $lo i32) (param $hi i32) (result i32)
    (local $expected i64) (local $old i64)
    (local.set $expected
      (i64.or (i64.extend_i32_u (local.get $expectedLo)) (i64.shl (i64.extend_i32_u (local.get $expectedHi)) (i64.const 32))))
    (local.set $old
      (i64.atomic.rmw.cmpxchg (local.get $at) (local.get $expected)
        (i64.or (i64.extend_i32_u (local.get $lo)) (i64.shl (i64.extend_i32_u (local.get $hi)) (i64.const 32)))))
    (global.set $lo (i32.wrap_i64 (local.get $old)))
    (global.set $hi (i32.wrap_i64 (i64.shr_u (local.get $old) (i64.const 32))))
    (i64.eq (local.get $old) (local.get $expected)))

  (func (export "xchg64") (param $at i32) (param $lo i32) (param $hi i32) (result i32)
    (local $old i64)
    (local.set $old
      (i64.atomic.rmw.xchg (local.get $at)
        (i64.or (i64.extend_i32_u (local.get $lo)) (i64.shl (i64.extend_i32_u (local.get $hi)) (i64.const 32)))))
    (global.set $lo (i32.wrap_i64 (local.get $old)))
    (global.set $hi (i32.wrap_i64 (i64.shr_u (local.get $old) (i64.const 32))))
    (i32.wrap_i64 (local.get $old)))

  (func (export "and64") (param $at i32) (param $lo i32) (param $hi i32) (result i32)
    (local $old i64)
    (local.set $old
      (i64.atomic.rmw.and (local.get $at)
        (i64.or (i64.extend_i32_u (local.get $lo)) (i64.shl (i64.extend_i32_u (local.get $hi)) (i64.const 32)))))
    (global.set $lo (i32.wrap_i64 (local.get $old)))
    (global.set $hi (i32.wrap_i64 (i64.shr_u (local.get $old) (i64.const 32))))
    (i32.wrap_i64 (local.get $old)))

  (func (export "or64") (param $at i32) (param $lo i32) (param $hi i32) (result i32)
    (local $old i64)
    (local.set $old
      (i64.atomic.rmw.or (local.get $at)
        (i64.or (i64.extend_i32_u (local.get $lo)) (i64.shl (i64.extend_i32_u (local.get $hi)) (i64.const 32)))))
    (global.set $lo (i32.wrap_i64 (local.get $old)))
    (global.set $hi (i32.wrap_i64 (i64.shr_u (local.get $old) (i64.const 32))))
    (i32.wrap_i64 (local.get $old)))

  (func (export "load64") (param $at i32) (result i32)
    (local $old i64)
    (local.set $old (i64.atomic.load (local.get $at)))
    (global.set $lo (i32.wrap_i64 (local.get $old)))
    (global.set $hi (i32.wrap_i64 (i64.shr_u (local.get $old) (i64.const 32))))
    (i32.wrap_i64 (local.get $old)))

  ;; Leaves no old value behind: a store sees none.
  (func (export "store64") (param $at i32) (param $lo i32) (param $hi i32)
    (i64.atomic.store (local.get $at)
      (i64.or (i64.extend_i32_u (local.get $lo)) (i64.shl (i64.extend_i32_u (local.get $hi)) (i64.const 32)))))

  ;; The 32-bit operations return the old value.
  (func (export "cas32") (param $at i32) (param $expected i32) (param $next i32) (result i32)
    (i32.atomic.rmw.cmpxchg (local.get $at) (local.get $expected) (local.get $next)))
  (func (export "xchg32") (param $at i32) (param $next i32) (result i32)
    (i32.atomic.rmw.xchg (local.get $at) (local.get $next)))
  (func (export "add32") (param $at i32) (param $delta i32) (result i32)
    (i32.atomic.rmw.add (local.get $at) (local.get $delta)))
  (func (export "and32") (param $at i32) (param $mask i32) (result i32)
    (i32.atomic.rmw.and (local.get $at) (local.get $mask)))
  (func (export "or32") (param $at i32) (param $mask i32) (result i32)
    (i32.atomic.rmw.or (local.get $at) (local.get $mask)))
  (func (export "load32") (param $at i32) (result i32)
    (i32.atomic.load (local.get $at)))
  (func (export "store32") (param $at i32) (param $next i32)
    (i32.atomic.store (local.get $at) (local.get $next))))

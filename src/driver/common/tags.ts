/**
 * The tags of cached translations: ASIDs and VMIDs, PSCIDs and GSCIDs. Where a process's tag is the CPU's and cannot be chosen (Arm), our
 * own make room for it (SYSTEM.md section 6). Arm IHI 0070, 3.17 "TLB tagging, VMIDs, ASIDs"; RISC-V IOMMU 1.0, "Process-context fields".
 */
import { IommError } from '../../core/error.ts'

/** Gives the lowest free number, from 1. */
export class TagAllocator<Owner> {
  readonly #what: string
  readonly #last: number
  readonly #owners = new Map<number, Owner>()
  /** No number below this one is free. */
  #hint = 1

  /** @param what as it stands in the error: `ASID`. */
  constructor(what: string, bits: number) {
    this.#what = what
    this.#last = 2 ** bits - 1
  }

  /** The largest number. */
  get last(): number {
    return this.#last
  }

  owner(tag: number): Owner | undefined {
    return this.#owners.get(tag)
  }

  /** @throws IommError AsidExhausted */
  allocate(owner: Owner): number {
    let tag = this.#hint
    while (this.#owners.has(tag)) tag++
    if (tag > this.#last)
      throw new IommError('AsidExhausted', `all ${this.#last} ${this.#what}s are in use; free a domain or unbind a process first`)
    this.#owners.set(tag, owner)
    this.#hint = tag + 1
    return tag
  }

  /** Takes this very number, whoever had it. */
  take(tag: number, owner: Owner): void {
    this.#owners.set(tag, owner)
  }

  free(tag: number): void {
    this.#owners.delete(tag)
    if (tag < this.#hint) this.#hint = tag
  }
}

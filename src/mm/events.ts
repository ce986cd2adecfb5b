/** What happened to processes, as it happens: for narration and tests. */
import type { Access } from '../base/types.ts'
import type { Mm } from './mm.ts'

export type MmEvent =
  | { readonly kind: 'created'; readonly mm: Mm }
  | { readonly kind: 'forked'; readonly mm: Mm; readonly child: Mm }
  | { readonly kind: 'exited'; readonly mm: Mm }
  | {
      readonly kind: 'paged-in'
      readonly mm: Mm
      readonly address: bigint
      readonly size: bigint
      readonly pa: bigint
      /** `unparked`: it was in memory, and access is permitted again. */
      readonly how: 'zeroed' | 'from swap' | 'shared' | 'unparked'
    }
  /** Copy on write: the page is the process's own now. `from` equals `to` when nobody else used it any more. */
  | { readonly kind: 'copied'; readonly mm: Mm; readonly address: bigint; readonly from: bigint; readonly to: bigint }
  | { readonly kind: 'swapped-out'; readonly mm: Mm; readonly address: bigint }
  | { readonly kind: 'migrated'; readonly mm: Mm; readonly address: bigint; readonly from: bigint; readonly to: bigint }
  | { readonly kind: 'stack-grown'; readonly mm: Mm; readonly start: bigint }
  | { readonly kind: 'refused'; readonly mm: Mm; readonly address: bigint; readonly access: Access; readonly why: string }

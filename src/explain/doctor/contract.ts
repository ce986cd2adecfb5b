/** Why shared virtual addressing is off: what is asked, what is known, and what would change it. SYSTEM.md section 7. */

export type Verdict = 'pass' | 'fail' | 'unknown'

/** One condition, answered. */
export interface Answer {
  /** What it is about: `dmar0`, `0000:6a:01.0`, `kernel`. */
  readonly where: string
  /** The condition: `the IOMMU takes requests with PASID`. */
  readonly condition: string
  readonly verdict: Verdict
  /** What says so: `ECAP.PASID = 0`, `not told`. */
  readonly because: string
  /** What would change it, or what would tell; null where it holds. */
  readonly change: string | null
}

/** The IOMMU's registers, as far as they are known. */
export interface IommuEvidence {
  /** `smmuv3`, `vtd`, `amdvi`, `riscv`. */
  readonly kind: string
  /** `dmar0`. */
  readonly name: string
  /** Value of the register with the manual's name; null when it is not known. */
  register(name: string): bigint | null
  /** Other facts that were printed: `ias`, `oas`, `linux-features`. */
  readonly facts: ReadonlyMap<string, bigint>
}

/** A device, as `lspci -vvv` shows it. */
export interface DeviceEvidence {
  readonly name: string
  /** `System peripheral: Intel Corporation …`. */
  readonly what: string
  readonly driver: string | null
  /** Capabilities were shown; lspci hides them from those who are not root. */
  readonly readable: boolean
  readonly ats: Capability | null
  readonly pasid: (Capability & { readonly bits: number | null }) | null
  readonly pri: (Capability & { readonly responsePasid: boolean | null }) | null
}

export interface Capability {
  readonly enabled: boolean | null
}

export interface Evidence {
  readonly iommus: readonly IommuEvidence[]
  readonly devices: readonly DeviceEvidence[]
  /** The kernel's command line; null when it is not known. */
  readonly commandLine: string | null
  /** Messages of the kernel, without prefixes. */
  readonly messages: readonly string[]
  /** CPU flags of x86 (`/proc/cpuinfo`); null when they are not known. */
  readonly cpuFlags: ReadonlySet<string> | null
  /** Lines `CONFIG_…=y` of a kernel configuration; null when there is none. */
  readonly config: ReadonlyMap<string, string> | null
}

/** Answers in a row, all about one thing. */
export class Answers {
  readonly list: Answer[] = []
  readonly #where: string

  constructor(where: string) {
    this.#where = where
  }

  /** @param holds null: not known. @param otherwise what would change it, or tell. */
  ask(condition: string, holds: boolean | null, because: string, otherwise: string): void {
    const verdict = holds === null ? 'unknown' : holds ? 'pass' : 'fail'
    this.list.push({ where: this.#where, condition, verdict, because, change: holds === true ? null : otherwise })
  }
}

/** Words of a command line: the last value of an option counts; `iommu=pt iommu=nopt` says nopt. */
export function option(commandLine: string | null, name: string): string | null {
  let value: string | null = null
  for (const word of (commandLine ?? '').split(/\s+/)) {
    if (word === name) value = ''
    if (word.startsWith(`${name}=`)) value = word.slice(name.length + 1)
  }
  return value
}

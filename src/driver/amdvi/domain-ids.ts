/**
 * DomainIDs: the tags of cached translations, together with the PASID where there is one. So an address space has no tag of its own: it is
 * known by the domain and its PASID there. Devices behind one DomainID share what is cached, so a guest's DTE has one that stands for the
 * DomainID that the guest gave it. AMD IOMMU specification (48882), 2.2.2.1, 2.4.3.
 */
import type { DriverDomain } from '../../core/driver.ts'
import { IommError } from '../../core/error.ts'
import { TagAllocator } from '../common/tags.ts'

/** A guest gets so many at most: they are everybody's. */
const GUEST_LIMIT = 64

interface Ids {
  readonly own: number
  /** By the guest's DomainID. */
  readonly guest: Map<number, number>
}

export class DomainIds {
  // 0 stays with devices in no domain.
  readonly #tags = new TagAllocator<DriverDomain>('DomainID', 16)
  readonly #domains = new Map<DriverDomain, Ids>()

  /** @throws IommError AsidExhausted */
  allocate(domain: DriverDomain): void {
    this.#domains.set(domain, { own: this.#tags.allocate(domain), guest: new Map() })
  }

  of(domain: DriverDomain): number {
    return this.#domains.get(domain)!.own
  }

  /** Ours for a guest's; it is there from now on. @throws IommError */
  forGuest(domain: DriverDomain, id: number): number {
    const { guest } = this.#domains.get(domain)!
    let ours = guest.get(id)
    if (ours === undefined) {
      if (guest.size === GUEST_LIMIT)
        throw new IommError('AsidExhausted', `the guest of domain ${domain.name} uses more than ${GUEST_LIMIT} DomainIDs`)
      ours = this.#tags.allocate(domain)
      guest.set(id, ours)
    }
    return ours
  }

  /** Ours for a guest's; null when none of its devices ever had it. @param own the id of its domain. */
  knownToGuest(own: number, id: number): number | null {
    return this.#ids(own).guest.get(id) ?? null
  }

  /** The ids of everything that goes through the host tables with this id. */
  throughHost(own: number): number[] {
    return [own, ...this.#ids(own).guest.values()]
  }

  /** Nothing with these ids is cached any more. */
  free(domain: DriverDomain): void {
    const { own, guest } = this.#domains.get(domain)!
    this.#domains.delete(domain)
    for (const id of [own, ...guest.values()]) this.#tags.free(id)
  }

  #ids(own: number): Ids {
    return this.#domains.get(this.#tags.owner(own)!)!
  }
}

// The shapes that travel, as signaling/messages.py and coordinator/model.py write them in JSON.

/** @typedef {"camera" | "microphone" | "screen_share" | "screen_share_audio" | "unknown"} TrackSource */

/**
 * @typedef {object} TrackInfo
 * @property {string} sid
 * @property {"audio" | "video"} kind
 * @property {TrackSource} source
 * @property {string} mime
 * @property {boolean} muted
 * @property {string} name
 */

/**
 * @typedef {object} Permissions
 * @property {boolean} can_publish
 * @property {boolean} can_subscribe
 * @property {boolean} hidden
 */

/**
 * @typedef {object} ParticipantInfo
 * @property {string} sid
 * @property {string} identity
 * @property {string} name
 * @property {string} joined_at RFC 3339
 * @property {"standard" | "whip" | "whep"} kind
 * @property {Permissions} permissions
 * @property {TrackInfo[]} tracks
 */

/**
 * @typedef {object} BroadcastInfo
 * @property {string} sid
 * @property {"requested" | "live" | "stopping" | "ended"} state
 * @property {string} started_at RFC 3339
 * @property {string} url
 */

/**
 * @typedef {object} RoomInfo
 * @property {string} sid
 * @property {string} name
 * @property {string} created_at RFC 3339
 * @property {{max_participants: number, empty_timeout_s: number, departure_timeout_s: number}} settings
 * @property {number} num_participants
 * @property {string | null} node
 * @property {BroadcastInfo | null} broadcast
 */

/** @typedef {{mid: string, source: TrackSource, name: string, muted: boolean}} TrackAnnouncement */
/** @typedef {{urls: string[], username: string, credential: string}} IceServer */
/** @typedef {{participant: string, identity: string, level: number}} SpeakerLevel */

/** @typedef {{type: "joined", room: RoomInfo, participant: ParticipantInfo, participants: ParticipantInfo[], ice_servers: IceServer[], position: string}} Joined */
/** @typedef {{type: "publisher_answer", id: number, sdp: string, tracks: {mid: string, sid: string}[]}} PublisherAnswer */
/** @typedef {{type: "subscriber_offer", offer_id: number, sdp: string, tracks: Record<string, string>}} SubscriberOffer */
/** @typedef {{type: "muted", id: number, track: string, muted: boolean}} Muted */
/** @typedef {{type: "goodbye", code: string, detail: string, reconnect: "no" | "now" | "later"}} Goodbye */
/** @typedef {{type: "error", code: string, detail: string, id: number | null}} ErrorMessage */

/**
 * @typedef {Joined
 *   | {type: "participant_joined", participant: ParticipantInfo}
 *   | {type: "participant_left", sid: string, identity: string, reason: string}
 *   | {type: "track_published", participant: string, track: TrackInfo}
 *   | {type: "track_unpublished", participant: string, track: string}
 *   | {type: "track_muted", participant: string, track: string, muted: boolean, by: string}
 *   | PublisherAnswer
 *   | SubscriberOffer
 *   | Muted
 *   | {type: "speakers", speakers: SpeakerLevel[]}
 *   | {type: "broadcast", broadcast: BroadcastInfo}
 *   | {type: "resync", reason: string, room: RoomInfo, participants: ParticipantInfo[], position: string}
 *   | Goodbye
 *   | ErrorMessage
 *   | {type: "pong", id: number}} ServerMessage
 */

/**
 * @typedef {{type: "publisher_offer", id: number, sdp: string, tracks: TrackAnnouncement[]}
 *   | {type: "subscriber_answer", offer_id: number, sdp: string}
 *   | {type: "mute", id: number, track: string, muted: boolean}
 *   | {type: "leave"}
 *   | {type: "ping", id: number}} ClientMessage
 */

export {};

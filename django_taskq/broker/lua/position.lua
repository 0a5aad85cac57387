#!lua flags=allow-oom
-- position | keys: ready scheduled cancels holders meta | edges: none
--
-- What an operator asks beside the job itself: where it stands in line, and who holds it.
-- ARGV: now, id, its holder ("" for none)
-- Reply: now, jobs that go before it ("" if it is not ready), how it is to stop ("" if it is not),
--   the end of its holder's lease ("" for none), `paused` and `pause_note` of meta, when the queue's
--   next scheduled job is due ("" for none)

local now, id, holder = clock(ARGV[1]), ARGV[2], ARGV[3]
local facts = redis.call('HMGET', meta, 'paused', 'pause_note')
local head = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')
return { now, redis.call('ZRANK', ready, id) or '', redis.call('HGET', cancels, id) or '',
  holder ~= '' and redis.call('ZSCORE', holders, holder) or '', facts[1] or '', facts[2] or '',
  head[2] or '' }

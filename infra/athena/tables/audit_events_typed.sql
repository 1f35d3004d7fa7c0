-- Audit events with the columns of the Events API. A convenience, not run on Athena.
-- A value of another type than the column's fails the query: the views are
-- the ones to build on.
CREATE EXTERNAL TABLE audit_events_typed (
  `uuid` string,
  `timestamp` string,
  `actor_uuid` string,
  `actor_details` struct<uuid:string,name:string,email:string,user_type:string,user_account_uuid:string>,
  `actor_type` string,
  `actor_account_uuid` string,
  `account_uuid` string,
  `action` string,
  `object_type` string,
  `object_uuid` string,
  `object_details` struct<uuid:string,name:string,email:string,user_type:string,user_account_uuid:string>,
  `aux_id` bigint,
  `aux_uuid` string,
  `aux_details` struct<uuid:string,name:string,email:string,user_type:string,user_account_uuid:string>,
  `aux_info` string,
  `session` struct<uuid:string,login_time:string,device_uuid:string,ip:string>,
  `location` struct<country:string,region:string,city:string,latitude:double,longitude:double>
)
PARTITIONED BY (
  `event_date` string COMMENT 'UTC day of the event, yyyy-MM-dd'
)
ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe'
STORED AS TEXTFILE
LOCATION 's3://<BucketName>/<KeyPrefix>audit_events/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.event_date.type' = 'date',
  'projection.event_date.format' = 'yyyy-MM-dd',
  'projection.event_date.interval' = '1',
  'projection.event_date.interval.unit' = 'DAYS',
  'projection.event_date.range' = 'NOW-<RetentionDays>DAYS,NOW+2DAYS',
  'storage.location.template' = 's3://<BucketName>/<KeyPrefix>audit_events/${event_date}/'
);
